"""What the landing sensor asks for while files come late, twice, in heaps, half-written, or go on growing."""

import datetime as dt
import errno
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import dagster as dg
import polars as pl
import psutil
import pytest

from cer_assets.defs import again, arrivals, landing, plan
from cer_assets.defs.faults import RetryFaults
from cer_assets.defs.plan import due_loads
from cer_assets.defs.processes import PROCESS, Process
from cer_assets.defs.resources import Home, feeds

DAYS = [dt.date(2017, 1, 1) + dt.timedelta(days=n) for n in range(40)]


def drop(home: Home, name: str, content: str = "x", feed: str = "transactions", age: float = 7200) -> Path:
    """A file of some age in seconds."""
    path = Path(home.landing / feed / name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def tick(home: Home, instance: dg.DagsterInstance, cursor: str | None = None) -> landing.Look:
    """What one tick of the landing sensor comes to."""
    return landing.look(instance, home, cursor)


def stretches(found: landing.Look) -> list[tuple[str, str]]:
    """First and last day of each run asked for."""
    names = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
    return [(r.tags[names[0]], r.tags[names[1]]) for r in found.requests]


@dg.op
def wrong() -> None:
    raise ValueError("wrong")


@dg.op(retry_policy=dg.RetryPolicy(max_retries=1))
def busy() -> None:
    raise OSError("busy")


TRIES: list[int] = []


@dg.op(retry_policy=RetryFaults(max_retries=1, delay=0))
def busy_then_wrong() -> None:
    TRIES.append(1)
    if len(TRIES) % 2:
        raise OSError(errno.EBUSY, "busy")
    raise ValueError("wrong")


def took_too_long(instance: dg.DagsterInstance, tags: Mapping[str, str]) -> None:
    """A run that run monitoring ended."""
    run = instance.create_run_for_job(dg.job(name="load")(lambda: None), tags=tags)
    instance.report_run_failed(run, "Exceeded maximum runtime of 21600 seconds.")


def no_resource(instance: dg.DagsterInstance, tags: Mapping[str, str]) -> None:
    """A run that failed before its first step."""

    @dg.resource
    def broken() -> None:
        raise ValueError("wrong")

    @dg.op(required_resource_keys={"broken"})
    def step() -> None: ...

    job = dg.GraphDefinition(name="load", node_defs=[step]).to_job(resource_defs={"broken": broken})
    job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)


def fails(op: dg.OpDefinition) -> Callable[[dg.DagsterInstance, Mapping[str, str]], object]:
    """A run that fails in this step."""
    job = dg.GraphDefinition(name="load", node_defs=[op]).to_job()
    return lambda instance, tags: job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)


def killed(instance: dg.DagsterInstance, tags: Mapping[str, str]) -> None:
    """A run whose process is gone before a step failed."""
    instance.report_run_failed(instance.create_run_for_job(dg.job(name="load")(lambda: None), tags=tags))


def cancelled(instance: dg.DagsterInstance, tags: Mapping[str, str]) -> None:
    """A run that somebody ended in the UI."""
    instance.report_run_canceled(instance.create_run_for_job(dg.job(name="load")(lambda: None), tags=tags))


def waiting(instance: dg.DagsterInstance, tags: Mapping[str, str]) -> None:
    """A run that waits its turn."""
    instance.create_run_for_job(dg.job(name="load")(lambda: None), tags=tags)


def locked(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Nobody may list a folder, nor what lies in it."""
    scandir = os.scandir

    def refusing(path: str | os.PathLike[str] = ".") -> object:
        if Path(path).is_relative_to(folder):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)


def entered(home: Home, feed: str, names: list[str]) -> None:
    """The ledger as it is after a load of these files."""
    there = {d.name: d for d in plan.landed(home)[feed]}
    rows = [
        {
            "feed": feed,
            "delivered_on": there[name].day,
            "file": name,
            "fingerprint": arrivals.fingerprint(there[name]),
            "layout": feeds()[feed].version,
            "accepted": 1,
        }
        for name in names
    ]
    home.lake.publish("raw.deliveries", pl.DataFrame(rows), partition_by="feed", keys=[feed])


@pytest.mark.parametrize("name", ["transactions", "consents"])
def test_one_run_reads_no_more_than_it_may_and_every_day_is_read(
    empty_home: Home, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for day in DAYS[:6]:
        drop(empty_home, f"{day}.csv", "x" * 40, feed=name)
    drop(empty_home, f"{DAYS[4]}.late.csv", "x" * 300, feed=name)  # a day is never split
    drop(empty_home, f"{DAYS[5]}.parquet", "x" * 9, feed=name)  # packed: it weighs tenfold
    monkeypatch.setattr(plan, "BYTES_A_RUN", 100)
    steps = due_loads(empty_home)
    ends = [(DAYS[0], DAYS[1]), (DAYS[2], DAYS[3]), (DAYS[4], DAYS[4]), (DAYS[5], DAYS[5])]
    assert [(s.first, s.last) for s in steps] == [(str(first), str(last)) for first, last in ends]
    if name == "consents":
        there = plan.landed(empty_home)[name]
        read = [plan.deliveries_asked_for(empty_home, feeds()[name], step.tags, there) for step in steps]
        assert [day for days in read for day in days] == DAYS[:6]
        assert plan.deliveries_asked_for(empty_home, feeds()[name], {}, there) == DAYS[:2]


def test_a_file_still_being_written_is_waited_for_and_holds_up_its_own_day_alone(
    empty_home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "QUIET_SECONDS", 3)
    for day in DAYS[:3]:
        drop(empty_home, f"{day}.csv")
    half = drop(empty_home, f"{DAYS[1]}.late.csv", "half", age=0)
    first = tick(empty_home, instance)
    assert stretches(first) == [(str(DAYS[0]),) * 2, (str(DAYS[2]),) * 2]
    half.write_text("half and")
    assert len(stretches(tick(empty_home, instance, first.cursor))) == 2
    os.utime(half, (time.time() - 4, time.time() - 4))  # quiet since
    assert stretches(tick(empty_home, instance, first.cursor)) == [(str(DAYS[0]), str(DAYS[2]))]


def test_a_file_whose_clock_runs_ahead_is_loaded_once_it_was_seen_unmoved(
    empty_home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "QUIET_SECONDS", 0.2)
    drop(empty_home, f"{DAYS[0]}.csv", age=-86400)
    first = tick(empty_home, instance)
    assert not first.requests
    time.sleep(0.25)
    assert len(stretches(tick(empty_home, instance, first.cursor))) == 1


def test_a_file_that_goes_on_growing_is_named_and_not_loaded_at_every_pause(
    empty_home: Home, instance: dg.DagsterInstance
) -> None:
    drop(empty_home, f"{DAYS[0]}.csv", age=60)
    since = time.time() - 2 * 3600
    cursor = json.dumps({"moving": {f"transactions/{DAYS[0]}.csv": ["an hour ago it was smaller", since, since]}})
    drop(empty_home, f"{DAYS[2]}.csv")
    result = tick(empty_home, instance, cursor)
    assert stretches(result) == [(str(DAYS[2]),) * 2]  # it has been quiet for a minute: too short, of two hours
    assert f"transactions/{DAYS[0]}.csv goes on growing" in result.said
    watched = arrivals.Watch(result.cursor).before
    assert list(arrivals.growing(watched, feeds(), time.time()).values()) == [pytest.approx(since, abs=1)]
    quiet = {name: arrivals.Watched(seen.mark, seen.begun, seen.still - 800) for name, seen in watched.items()}
    assert all(seen.settled(feeds()["transactions"], time.time()) for seen in quiet.values())


def test_the_cursor_forgets_files_that_are_gone_or_long_still_and_never_grows_beyond_a_bound(
    empty_home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in DAYS:
        drop(empty_home, f"{day}.csv")
    assert arrivals.Watch(tick(empty_home, instance).cursor).before == {}
    young = drop(empty_home, f"{DAYS[0]}.late.csv", age=60)
    held = tick(empty_home, instance).cursor
    assert young.name in str(held)
    young.unlink()
    assert arrivals.Watch(tick(empty_home, instance, held).cursor).before == {}
    monkeypatch.setattr(arrivals, "MOST_WATCHED", 5)
    for day in DAYS:
        drop(empty_home, f"{day}.csv", "anew", age=60)
    assert len(arrivals.Watch(tick(empty_home, instance, held).cursor).before) == 5


def test_a_heap_of_drops_is_asked_for_in_bounded_ticks_and_nothing_is_lost(
    empty_home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landing, "MOST_REQUESTS", 3)
    for day in DAYS[:14:2]:
        drop(empty_home, f"{day}.csv")
    asked: list[tuple[str, str]] = []
    for most in (3, 3, 1, 0):
        result = tick(empty_home, instance)
        assert len(result.requests) == most
        asked += stretches(result)
        # A load that fails for good keeps its place from none of the others.
        for asked_for in result.requests:
            fails(wrong)(instance, asked_for.tags)
    assert asked == [(str(day),) * 2 for day in DAYS[:14:2]]


def test_a_load_that_was_killed_is_asked_for_again_but_not_for_ever(
    empty_home: Home, instance: dg.DagsterInstance
) -> None:
    drop(empty_home, f"{DAYS[0]}.csv")
    keys: list[str | None] = []
    for _ in range(again.MOST_KILLED + 3):
        result = tick(empty_home, instance)
        keys += [asked.run_key for asked in result.requests]
        for asked in result.requests:
            killed(instance, asked.tags)
    assert len(set(keys)) == len(keys) == again.MOST_KILLED + 1
    assert "was killed on these very inputs, 4 times in a row" in str(tick(empty_home, instance).said)
    drop(empty_home, f"{DAYS[0]}.csv", "delivered again")
    assert len(stretches(tick(empty_home, instance))) == 1


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        (cancelled, "was cancelled on these very inputs"),
        (fails(wrong), "failed on these very inputs"),
        (fails(busy_then_wrong), "failed on these very inputs"),
        (took_too_long, "failed on these very inputs"),
        (no_resource, "failed on these very inputs"),
        (waiting, "is under way"),
    ],
)
def test_a_load_that_failed_was_cancelled_or_is_under_way_is_not_asked_for_again(
    empty_home: Home,
    instance: dg.DagsterInstance,
    ends: Callable[[dg.DagsterInstance, Mapping[str, str]], object],
    said: str,
) -> None:
    drop(empty_home, f"{DAYS[0]}.csv")
    (asked,) = tick(empty_home, instance).requests
    ends(instance, asked.tags)
    result = tick(empty_home, instance)
    assert not result.requests
    assert said in str(result.said)


def test_a_load_that_ended_by_a_fault_that_passes_is_asked_for_again_after_a_pause(
    empty_home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(empty_home, f"{DAYS[0]}.csv")
    (asked,) = tick(empty_home, instance).requests
    fails(busy)(instance, asked.tags)
    assert "ended by a fault of disk or network, again at" in str(tick(empty_home, instance).said)
    monkeypatch.setattr(again, "PAUSE", dt.timedelta(0))
    assert len(stretches(tick(empty_home, instance))) == 1


@pytest.mark.parametrize("ends", [fails(wrong), fails(busy_then_wrong), took_too_long, no_resource])
def test_a_load_that_failed_is_asked_for_again_after_six_hours_and_not_before(
    empty_home: Home,
    instance: dg.DagsterInstance,
    ends: Callable[[dg.DagsterInstance, Mapping[str, str]], object],
) -> None:
    drop(empty_home, f"{DAYS[0]}.csv")
    (step,) = due_loads(empty_home)
    ends(instance, again.tags_of(step))
    (run,) = runs = again.attempts(instance, [step])[step.fingerprint]
    due = dt.datetime.fromtimestamp(run.end_time or 0, dt.UTC) + dt.timedelta(hours=6)
    waits = again.attempt(instance, runs, due - dt.timedelta(seconds=1))
    assert waits == f"load failed on these very inputs, again at {due:%H:%M} UTC"
    assert again.attempt(instance, runs, due) == 1


def test_failures_of_another_kind_do_not_count_among_the_kills_of_a_step(
    empty_home: Home, instance: dg.DagsterInstance
) -> None:
    drop(empty_home, f"{DAYS[0]}.csv")
    (step,) = due_loads(empty_home)
    for ends in (*[fails(wrong)] * again.MOST_KILLED, killed):
        ends(instance, again.tags_of(step))
    runs = again.attempts(instance, [step])[step.fingerprint]
    assert again.attempt(instance, runs, dt.datetime.now(dt.UTC)) == again.MOST_KILLED + 1


def test_an_attempt_has_a_number_that_none_before_it_had(empty_home: Home, instance: dg.DagsterInstance) -> None:
    drop(empty_home, f"{DAYS[0]}.csv")
    (step,) = due_loads(empty_home)
    for ends in (killed, killed, cancelled, killed):
        ends(instance, again.tags_of(step))
    runs = again.attempts(instance, [step])[step.fingerprint]
    assert again.attempt(instance, runs, dt.datetime.now(dt.UTC)) == 4


def test_while_a_load_of_a_feed_is_under_way_no_other_of_it_is_asked_for_but_those_of_others_are(
    empty_home: Home, instance: dg.DagsterInstance
) -> None:
    drop(empty_home, f"{DAYS[0]}.csv")
    (asked,) = tick(empty_home, instance).requests
    waiting(instance, asked.tags)
    for name, feed in (
        (f"{DAYS[0]}.late.csv", "transactions"),
        (f"{DAYS[2]}.csv", "transactions"),
        (f"{DAYS[0]}.csv", "consents"),
    ):
        drop(empty_home, name, feed=feed)
    meanwhile = tick(empty_home, instance)
    assert [request.tags[again.OF] for request in meanwhile.requests] == ["raw/consents"]
    assert "transactions: 3 of 3 drops are new or were replaced; load is under way" in meanwhile.said
    (run,) = instance.get_runs()
    instance.report_run_failed(run)
    of = [request.tags[again.OF] for request in tick(empty_home, instance).requests]
    assert of.count("raw/transactions") == 2


def test_a_folder_that_may_not_be_listed_stops_its_own_feed_alone_and_is_named(
    empty_home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    for feed in ("transactions", "consents"):
        drop(empty_home, f"{DAYS[0]}.csv", feed=feed)
    locked(monkeypatch, empty_home.landing / "consents")
    result = tick(empty_home, instance)
    assert [request.tags[again.OF] for request in result.requests] == ["raw/transactions"]
    assert [step.assets[0].path[1] for step in due_loads(empty_home)] == ["transactions"]
    assert plan.stray_files(empty_home) == ["consents/: its folder may not be listed"]
    (said,) = result.said
    assert said.startswith("landing zone: its folder may not be listed")
    assert said.endswith("/consents")


def test_a_landing_zone_whose_feeds_alone_may_be_listed_is_loaded(
    empty_home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(empty_home, f"{DAYS[0]}.csv")
    scandir = os.scandir

    def refusing(path: str | os.PathLike[str] = ".") -> object:
        if Path(path) == empty_home.landing:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    result = tick(empty_home, instance)
    assert len(result.requests) == 1
    assert result.said == []


def test_a_tick_reads_no_file_that_it_need_not_and_stops_in_time(
    empty_home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{day}.csv" for day in DAYS[:4]]
    for name in names:
        drop(empty_home, name)
    read: list[str] = []
    fingerprint = arrivals.fingerprint
    entered(empty_home, "transactions", names)

    def counted(one: arrivals.Drop) -> str:
        read.append(one.name)
        return fingerprint(one)

    monkeypatch.setattr(arrivals, "fingerprint", counted)
    for day in DAYS[6:10]:
        drop(empty_home, f"{day}.csv")
    assert stretches(tick(empty_home, instance)) == [(str(DAYS[6]), str(DAYS[9]))]
    assert read == names  # those of the ledger once, the new ones never
    tick(empty_home, instance)
    assert read == names
    os.utime(empty_home.landing / "transactions" / names[0], (1, 1))
    drop(empty_home, names[1], "replaced")
    monkeypatch.setattr(landing, "READING_SECONDS", -1)
    assert len(stretches(tick(empty_home, instance))) == 1  # no time to compare: not taken for replaced
    monkeypatch.setattr(landing, "READING_SECONDS", 20)
    assert stretches(tick(empty_home, instance))[0] == (str(DAYS[1]),) * 2
    assert read == [*names, *names[:2]]


def test_a_store_that_does_not_answer_is_no_file_that_was_replaced(
    empty_home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(empty_home, f"{DAYS[0]}.csv")
    entered(empty_home, "transactions", [f"{DAYS[0]}.csv"])
    drop(empty_home, f"{DAYS[0]}.csv", "replaced")

    def away(_: arrivals.Drop) -> str:
        raise ConnectionResetError

    with monkeypatch.context() as patched:
        patched.setattr(arrivals, "fingerprint", away)
        assert not tick(empty_home, instance).requests
    assert len(tick(empty_home, instance).requests) == 1


@pytest.mark.parametrize("gone", [True, False])
def test_a_process_of_another_host_is_left_to_run_monitoring(instance: dg.DagsterInstance, gone: bool) -> None:
    here = Process.this("run")
    asked = replace(here, pid=here.pid + (1 << 22 if gone else 0))
    assert replace(asked, host="elsewhere").gone() is False
    assert asked.gone() is gone
    assert replace(here, born=here.born - 60).gone()  # its number was given to another since
    assert replace(here, boot="before").gone()  # so was its time of birth, after the machine was started again


def test_a_run_that_was_under_way_during_an_upgrade_is_not_gone() -> None:
    here = Process.this("run")
    tag = {PROCESS: f"{here.host}|{here.pid}|{here.born:.2f}|run"}
    former = Process.of(dg.DagsterRun(job_name="load", run_id="run", tags=tag))
    assert former is not None
    assert former == replace(here, boot="", born=former.born)
    assert not former.gone()


def test_a_process_is_not_gone_because_the_clock_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    here, born, booted = Process.this("run"), psutil.Process.create_time, psutil.boot_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: born(process) + 3600)
    monkeypatch.setattr(psutil, "boot_time", lambda: booted() + 3600)
    assert not here.gone()


def test_a_run_says_which_process_executes_it_and_one_executed_anew_does_not_inherit_it(
    instance: dg.DagsterInstance, empty_home: Home
) -> None:
    @dg.op(required_resource_keys={"home"})
    def step() -> None: ...

    job = dg.GraphDefinition(name="customers", node_defs=[step]).to_job(resource_defs={"home": empty_home})
    first = job.execute_in_process(instance=instance)
    run = instance.get_run_by_id(first.run_id)
    assert run is not None
    process = Process.of(run)
    assert process is not None
    assert process.pid == os.getpid()
    assert not process.gone()
    again = instance.create_run_for_job(job, tags=run.tags)
    assert Process.of(again) is None
