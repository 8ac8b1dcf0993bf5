"""What is wrong in an instance, as the sensor finds it."""

import datetime as dt
import json
import time
from typing import cast

import dagster as dg
import pytest
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange

from cer_assets.alerts import Alert
from cer_assets.defs import again
from cer_assets.defs.again import tags_of
from cer_assets.defs.alerts import wrong_now
from cer_assets.defs.landing import look
from cer_assets.defs.plan import due_loads
from cer_assets.defs.provenance import Graph
from cer_assets.defs.resources import Home
from cer_assets_tests.defs.test_automation import HEADER, drop, load, planned
from cer_assets_tests.defs.test_erasure import CRM, KEY, OTHERS, OWN, forget, lines, loaded, write
from cer_assets_tests.defs.test_landing import entered, locked, waiting

DAY = dt.date(2017, 1, 1)


def wrong(
    project: dg.Definitions,
    instance: dg.DagsterInstance,
    home: Home,
    landing: str | None = None,
    ahead: dt.timedelta = dt.timedelta(0),
) -> dict[str, Alert]:
    """What is wrong now, or would be some time from now, by its key."""
    graph, now = cast("Graph", project.resolve_asset_graph()), dt.datetime.now(dt.UTC) + ahead
    return {alert.key: alert for alert in wrong_now(instance, graph, home, ["customers"], now, landing)}


def test_a_check_that_fails_is_told_until_it_passes_and_its_run_is_not_told_beside_it(
    project: dg.Definitions, instance: dg.DagsterInstance, empty_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CER_UI_URL", "https://ui.shop.example/")
    drop(empty_home, DAY).write_text(f"{HEADER}\nb1,1,crm,Wilhelmina,p1,one,2.50,0,s1,never\n")
    (step,) = due_loads(empty_home)
    failed = load(project, instance, empty_home, step)
    (alert,) = wrong(project, instance, empty_home).values()
    assert alert.where == "raw/transactions:little_rejected"
    assert "2017-01-01: 1 rows rejected" in alert.what
    assert "Wilhelmina" not in alert.what
    assert alert.severity == "error"
    assert alert.link == f"https://ui.shop.example/runs/{failed.run_id}"
    planned(instance, dg.AssetCheckKey(dg.AssetKey(["raw", "transactions"]), "little_rejected"))
    assert wrong(project, instance, empty_home) == {alert.key: alert}  # asked again, and not answered yet
    drop(empty_home, DAY)
    (step,) = due_loads(empty_home)
    assert load(project, instance, empty_home, step).success
    assert wrong(project, instance, empty_home) == {}


@dg.op
def breaks() -> None:
    raise ValueError("Wilhelmina Featherstonehaugh is no number")


@dg.op
def holds() -> None: ...


def test_a_run_that_failed_is_told_by_its_step_until_one_of_its_job_succeeds(
    project: dg.Definitions, instance: dg.DagsterInstance, empty_home: Home
) -> None:
    for op, said in ((breaks, "step breaks failed: "), (holds, None)):
        job = dg.GraphDefinition(name="customers", node_defs=[op]).to_job()
        job.execute_in_process(instance=instance, raise_on_error=False)
        found = wrong(project, instance, empty_home)
        assert (found["run customers"].what.startswith(said) if found else None) == (True if said else None)


def test_words_of_an_error_are_left_out_where_they_may_be_a_library_s(
    project: dg.Definitions, instance: dg.DagsterInstance, empty_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for errors in ("whole", "discreet"):
        monkeypatch.setenv("CER_ERRORS", errors)
        job = dg.GraphDefinition(name="customers", node_defs=[breaks]).to_job()
        job.execute_in_process(instance=instance, raise_on_error=False)
        (alert,) = wrong(project, instance, empty_home).values()
        assert "Featherstonehaugh" not in alert.what
        assert "ValueError" in alert.what


def test_a_load_of_one_feed_that_succeeds_does_not_hide_that_of_another(
    project: dg.Definitions, instance: dg.DagsterInstance, empty_home: Home
) -> None:
    drop(empty_home, DAY)
    path = empty_home.landing / "consents" / f"{DAY}.csv"
    path.parent.mkdir()
    path.write_text(f"source,source_id,purpose,granted,at\ncrm,1,email,true,{DAY}T10:00:00\n")
    consents, purchases = due_loads(empty_home)
    job = dg.GraphDefinition(name="load", node_defs=[holds]).to_job()
    instance.report_run_failed(instance.create_run_for_job(job, tags=tags_of(purchases)))
    job.execute_in_process(instance=instance, tags=tags_of(consents))
    (alert,) = wrong(project, instance, empty_home).values()
    assert alert.where == "load of transactions"
    assert "its process is gone" in alert.what


def ended(instance: dg.DagsterInstance, asked: dg.RunRequest, op: dg.OpDefinition) -> None:
    """A load that was asked for, as this step ends it."""
    job = dg.GraphDefinition(name="load", node_defs=[op]).to_job()
    job.execute_in_process(instance=instance, tags=asked.tags, raise_on_error=False)


def test_a_load_that_failed_is_told_until_its_drops_are_loaded_whatever_load_of_the_feed_succeeded_since(
    project: dg.Definitions, instance: dg.DagsterInstance, empty_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = [DAY, DAY + dt.timedelta(days=2)]
    for day in days:
        drop(empty_home, day)
    first, other = look(instance, empty_home, None).requests
    ended(instance, first, breaks)
    seen = look(instance, empty_home, None)
    (failed,) = wrong(project, instance, empty_home, seen.cursor).values()
    assert failed.what.startswith("step breaks failed: ")
    ended(instance, other, holds)
    (alert,) = wrong(project, instance, empty_home, seen.cursor).values()
    assert alert.what == f"drops of {DAY} to {DAY} are not loaded, for their load failed"
    assert alert.key == failed.key == "run load of transactions"
    monkeypatch.setattr(again, "ANYWAY", dt.timedelta(0))
    seen = look(instance, empty_home, None)
    (asked,) = seen.requests
    assert wrong(project, instance, empty_home, seen.cursor) == {alert.key: alert}
    waiting(instance, asked.tags)
    seen = look(instance, empty_home, None)
    assert wrong(project, instance, empty_home, seen.cursor) == {alert.key: alert}
    entered(empty_home, "transactions", [f"{day}.csv" for day in days])
    assert wrong(project, instance, empty_home, look(instance, empty_home, seen.cursor).cursor) == {}


def test_what_is_not_loaded_is_told_while_it_is_tried_within_a_longer_stretch(
    project: dg.Definitions, instance: dg.DagsterInstance, empty_home: Home
) -> None:
    for days in (0, 2):
        drop(empty_home, DAY + dt.timedelta(days=days))
    first, other = look(instance, empty_home, None).requests
    ended(instance, first, breaks)
    ended(instance, other, holds)
    cursor = look(instance, empty_home, None).cursor
    drop(empty_home, DAY + dt.timedelta(days=1))
    seen = look(instance, empty_home, cursor)
    assert len(seen.requests) == 1
    assert list(wrong(project, instance, empty_home, seen.cursor)) == ["run load of transactions"]


@pytest.mark.parametrize(("folder", "said"), [("consents", "stray consents"), (".", "landing zone")])
def test_what_may_not_be_listed_of_the_landing_zone_is_one_alert_and_silences_no_other(
    project: dg.Definitions,
    instance: dg.DagsterInstance,
    empty_home: Home,
    monkeypatch: pytest.MonkeyPatch,
    folder: str,
    said: str,
) -> None:
    drop(empty_home, DAY)
    job = dg.GraphDefinition(name="customers", node_defs=[breaks]).to_job()
    job.execute_in_process(instance=instance, raise_on_error=False)
    locked(monkeypatch, empty_home.landing / folder)
    assert set(wrong(project, instance, empty_home)) == {"run customers", said}


def test_a_table_that_is_not_new_in_time_is_overdue(
    project: dg.Definitions, instance: dg.DagsterInstance, empty_home: Home
) -> None:
    since = time.time() - 3600
    for key, state in (("recommendations", FreshnessState.FAIL), ("outcomes", FreshnessState.PASS)):
        change = FreshnessStateChange(
            key=dg.AssetKey(["recommend", key]),
            new_state=state,
            previous_state=FreshnessState.UNKNOWN,
            state_change_timestamp=since,
        )
        instance._report_runless_asset_event(change)  # as the daemon does
    (alert,) = wrong(project, instance, empty_home).values()
    assert alert.where == "recommend/recommendations"
    assert alert.since.timestamp() == pytest.approx(since, abs=1)


def test_where_no_purchases_came_what_stands_on_them_is_not_told_beside_but_what_was_late_before_is(
    project: dg.Definitions, instance: dg.DagsterInstance, empty_home: Home
) -> None:
    now = time.time()
    told: list[set[str]] = []
    for purchases, at in ((FreshnessState.FAIL, 7200), (FreshnessState.PASS, 60)):
        states = {"raw/transactions": (purchases, at), "raw/events": (FreshnessState.FAIL, 7190)}
        states |= {"value/rfm": (FreshnessState.FAIL, 7205), "value/clv": (FreshnessState.FAIL, 90_000)}
        for key, (state, ago) in states.items():
            change = FreshnessStateChange(
                key=dg.AssetKey(key.split("/")),
                new_state=state,
                previous_state=FreshnessState.UNKNOWN,
                state_change_timestamp=now - ago,
            )
            instance._report_runless_asset_event(change)  # as the daemon does
        told.append({alert.where for alert in wrong(project, instance, empty_home).values()})
    assert told == [{"raw/transactions", "raw/events", "value/clv"}, {"raw/events"}]


def test_a_file_that_goes_on_growing_and_files_that_no_feed_reads_are_told_without_their_names(
    project: dg.Definitions, instance: dg.DagsterInstance, empty_home: Home
) -> None:
    folder = empty_home.landing / "transactions"
    folder.mkdir(parents=True)
    (folder / "ada.lovelace.xlsx").write_text("x")
    (empty_home.landing / "transaktions").mkdir()
    now = time.time()
    cursor = json.dumps({"moving": {f"transactions/{DAY}.ada.csv": ["mark", now - 7200, now - 5]}})
    found = wrong(project, instance, empty_home, landing=cursor)
    assert {(alert.where, alert.severity) for alert in found.values()} == {
        ("landing zone", "warning"),
        ("landing zone: transactions", "warning"),
    }
    said = json.dumps([alert.as_json() for alert in found.values()])
    assert "a file of 2017-01-01 goes on growing" in said
    assert "ada" not in said


def test_who_is_not_forgotten_for_days_is_told_by_number_until_the_receipt_is_signed(
    project: dg.Definitions, instance: dg.DagsterInstance, empty_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cer_assets.defs.erasure.ending import end

    def told(ahead: int = 0) -> dict[str, str]:
        found = wrong(project, instance, empty_home, ahead=dt.timedelta(days=ahead))
        return {alert.key: f"{alert.what} {alert.since:%Y-%m}" for alert in found.values() if alert.where == "erasure"}

    monkeypatch.setenv("CER_SUPPRESSION_KEY", KEY)
    write(empty_home, "crm_customers", f"{DAY}.csv", lines(CRM, *OTHERS[:2], OWN))
    today = dt.datetime.now(dt.UTC)
    for who, day in (("C2", today), ("Z1", dt.datetime(2017, 1, 20))):
        row = f"crm,{who},{day:%Y-%m-%d}T00:00:00"
        write(empty_home, "erasure_requests", f"{day:%Y-%m-%d}.csv", lines("source,source_id,at", row))
    loaded(empty_home)
    (said,) = told().values()
    assert said.startswith("1 requests") and said.endswith(" 2017-01")

    forget(empty_home)
    assert told().keys() == {"erasure unsigned"}, "who removed it left no word of when"
    for table in ("receipts", "suppressed"):
        instance.report_runless_asset_event(dg.AssetMaterialization(["erasure", table]))
    assert told(ahead=2) == {}
    (said,) = told(ahead=4).values()
    assert said.startswith("2 erasures are under way") and said.endswith(f"{today:%Y-%m}")
    assert not any(request in said for request in empty_home.read("erasure.receipts")["request"])
    end(empty_home, dt.datetime(2017, 1, 30))
    assert told(ahead=4) == {}


def test_nothing_is_wrong_in_an_empty_home(
    project: dg.Definitions, instance: dg.DagsterInstance, empty_home: Home
) -> None:
    assert wrong(project, instance, empty_home) == {}


def test_every_table_that_people_look_at_says_by_when_it_must_be_new(project: dg.Definitions) -> None:
    graph = project.resolve_asset_graph()
    told = {key.to_user_string() for key in graph.get_all_asset_keys() if graph.get(key).freshness_policy}
    looked_at = {
        *("identity/customers", "identity/links", "customer/orders", "value/rfm", "value/clv", "value/buckets"),
        *("segment/behaviour", "segment/preference", "segment/profiles", "predict/churn", "predict/purchase"),
        *("predict/response", "recommend/recommendations", "insight/report", "insight/snapshot", "raw/transactions"),
        *(f"recommend/{name}" for name in ("moments", "bought_together", "rhythms")),
    }
    assert looked_at <= told
    assert not {"identity/model", "raw/transactions_rejects", "raw/weather", "value/clv_model"} & told
