"""Alerts reach a log, a web server and a mail server; a target that cannot be reached costs nothing but time."""

import datetime as dt
import logging
from collections.abc import Iterator

import pytest

from cer_assets.alerts import Alert, Change, InvalidTarget, NotDelivered, as_text, targets_of, tell, told_from
from cer_assets_tests.alerts.servers import Post, Web, running

SINCE = dt.datetime(2017, 12, 1, 5, 30, tzinfo=dt.UTC)


def alert(key: str = "run load", severity: str = "error") -> Alert:
    """A trouble of some key."""
    link = "http://ui/runs/1"
    return Alert(key, "step raw failed", "load of consents", SINCE, "error" if severity == "error" else "warning", link)


@pytest.fixture
def web() -> Iterator[Web]:
    """A web server."""
    with running(Web()) as server:
        yield server


@pytest.fixture
def post() -> Iterator[Post]:
    """A mail server."""
    with running(Post()) as server:
        yield server


def test_a_webhook_is_posted_what_where_since_when_and_the_link(web: Web) -> None:
    (target,) = targets_of(f"http://127.0.0.1:{web.server_port}/hook?token=geheim")
    target.send([Change(alert()), Change(alert("other", "warning"), over=True)])
    (body,) = web.got
    wrong, over = body["alerts"]
    assert (wrong["what"], wrong["where"], wrong["since"]) == ("step raw failed", "load of consents", SINCE.isoformat())
    assert (wrong["link"], wrong["severity"], wrong["over"]) == ("http://ui/runs/1", "error", False)
    assert over["over"]
    assert "error: load of consents" in body["text"]
    assert "since 2017-12-01 05:30 UTC" in body["text"]
    assert "right again: load of consents" in body["text"]
    assert "geheim" not in target.name


def test_an_e_mail_goes_to_every_receiver(post: Post) -> None:
    port = post.server_address[1]
    (target,) = targets_of(f"smtp://127.0.0.1:{port}?to=data@shop.example,night@shop.example&from=cer@shop.example")
    target.send([Change(alert()), Change(alert("other"))])
    (mail,) = post.got
    assert post.receivers == ["data@shop.example", "night@shop.example"]
    assert "From: cer@shop.example" in mail
    assert "Subject: [cer_assets] error: load of consents and 1 more" in mail
    assert "http://ui/runs/1" in mail


def test_the_log_has_a_line_for_each(caplog: pytest.LogCaptureFixture) -> None:
    (target,) = targets_of("log:")
    with caplog.at_level(logging.INFO, "cer_assets.alerts"):
        target.send([Change(alert()), Change(alert("b", "warning")), Change(alert("c"), over=True)])
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING", "INFO"]
    assert "step raw failed | since 2017-12-01 05:30 UTC | http://ui/runs/1" in caplog.text


@pytest.mark.parametrize("answer", [404, 500, 302])
def test_a_web_server_that_refuses_is_named_without_what_it_was_told(web: Web, answer: int) -> None:
    web.answer = answer
    (target,) = targets_of(f"http://127.0.0.1:{web.server_port}/hook?token=geheim")
    with pytest.raises(NotDelivered, match=f"127.0.0.1:{web.server_port}: HTTPError {answer}") as failure:
        target.send([Change(alert())])
    assert "geheim" not in str(failure.value)


def test_a_mail_server_that_refuses_is_named_without_what_it_was_told(post: Post) -> None:
    post.refuses = True
    (target,) = targets_of(f"smtp://127.0.0.1:{post.server_address[1]}?to=ada@shop.example")
    with pytest.raises(NotDelivered, match="SMTPRecipientsRefused") as failure:
        target.send([Change(alert())])
    assert "ada" not in str(failure.value)


def test_a_password_never_goes_without_tls(post: Post) -> None:
    (target,) = targets_of(f"smtp://user:geheim@127.0.0.1:{post.server_address[1]}?to=ada@shop.example")
    with pytest.raises(NotDelivered, match="SMTPNotSupportedError") as failure:
        target.send([Change(alert())])
    assert "geheim" not in str(failure.value) + repr(target)
    assert not post.got


def test_each_is_told_once_when_it_begins_and_once_when_it_ends(web: Web) -> None:
    targets = targets_of(f"http://127.0.0.1:{web.server_port}/hook")
    told, failures = tell(targets, [alert("a"), alert("b")], {})
    later = Alert("a", "again", "load", SINCE + dt.timedelta(days=1))
    told, failures = tell(targets, [alert("b"), later], told_from(as_text(told)))
    assert not failures
    assert told[targets[0].name]["a"].since == SINCE  # it has been wrong since then
    told, _ = tell(targets, [alert("b")], told)
    told, _ = tell(targets, [alert("b")], told)
    assert [[(a["key"], a["over"]) for a in body["alerts"]] for body in web.got] == [
        [("a", False), ("b", False)],
        [("a", True)],
    ]


def test_what_could_not_be_delivered_is_told_at_the_next_tick_and_others_are_told_now(web: Web, post: Post) -> None:
    targets = targets_of(
        f"http://127.0.0.1:{web.server_port}/x, smtp://127.0.0.1:{post.server_address[1]}?to=a@x.example"
    )
    web.answer = 503
    told, failures = tell(targets, [alert()], {})
    assert failures == [f"http://127.0.0.1:{web.server_port}: HTTPError 503"]
    assert (len(web.got), len(post.got)) == (0, 1)
    web.answer = 200
    told, failures = tell(targets, [alert()], told)
    assert not failures
    assert (len(web.got), len(post.got)) == (1, 1)


def test_a_server_that_is_gone_is_a_failure_to_deliver_and_nothing_else() -> None:
    with running(Web()) as gone:
        port = gone.server_port
    targets = targets_of(f"http://127.0.0.1:{port},smtp://127.0.0.1:{port}?to=a@x.example")
    _, failures = tell(targets, [alert()], {})
    assert len(failures) == 2


def test_settings_name_several_targets_and_a_wrong_one_is_refused_without_its_password() -> None:
    setting = (
        "log:, https://a.example/x?y=1,2, https://a.example/z, smtps://u:p%40w@m.example?to=a@x.example,b@x.example"
    )
    names = [target.name for target in targets_of(setting)]
    assert names == ["log", "https://a.example", "https://a.example#2", "smtps://m.example:465"]
    assert targets_of("") == []
    for wrong in (
        "ftp://user:geheim@host",
        "https://",
        "smtp://user:geheim@host",
        "https://host:port/x",
        "https://user:geheim@host/x",
        "http://geheim@host/x",
    ):
        with pytest.raises(InvalidTarget, match="target 1: expected") as fault:
            targets_of(wrong)
        assert "geheim" not in str(fault.value)


def test_no_more_than_a_hundred_are_told_at_once_the_gravest_first(web: Web) -> None:
    wrong = [alert(f"{n:03}", "warning") for n in range(120)] + [alert("grave")]
    targets = targets_of(f"http://127.0.0.1:{web.server_port}/hook")
    tell(targets, wrong, {})
    assert len(web.got[0]["alerts"]) == 100
    assert web.got[0]["alerts"][0]["key"] == "grave"


def test_what_goes_on_is_not_said_to_be_right_again_because_graver_things_came(web: Web) -> None:
    mild, grave = [[alert(f"{kind}{n:03}", kind) for n in range(100)] for kind in ("warning", "error")]
    targets = targets_of(f"http://127.0.0.1:{web.server_port}/hook")
    told, _ = tell(targets, mild, {})
    told, _ = tell(targets, mild + grave, told)
    tell(targets, mild[1:] + grave, told)
    assert [change["key"] for change in web.got[1]["alerts"]] == [each.key for each in grave]
    assert [(change["key"], change["over"]) for change in web.got[2]["alerts"]] == [("warning000", True)]
