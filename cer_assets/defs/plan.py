"""What is due: which drops are not loaded yet, and which assets no longer stand on what they were computed from.

`make run`, the schedule and the catch-up sensor all act on this one answer; none of them decides anything itself.
"""

import datetime as dt
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import cast

import polars as pl
from dagster import AssetCheckKey, AssetKey, DagsterInstance

from cer_assets.defs.arrivals import Fingerprints
from cer_assets.defs.io import INPUTS
from cer_assets.defs.partitions import days
from cer_assets.defs.provenance import CODE_VERSION, Graph, Records, input_states, stands_on, tag
from cer_assets.defs.resources import Home, feeds
from cer_assets.feeds import Drop, Feed, list_drops, unknown_names, unreadable_names
from cer_assets.feeds.landing import GRAMMAR
from cer_assets.lake import stretches

LOAD, HISTORY_JOB, PURCHASES = "load", "history", "transactions"
PASSED_OVER = (LOAD, HISTORY_JOB)
"""Jobs that no other waits for: what stands on a check that never answers is held back by itself, and past days that
cannot be computed do not hold up today's lists."""
FIRST_DELIVERY, LAST_DELIVERY = "cer/first_delivery", "cer/last_delivery"
"""Run tags: the days of delivery that a load reads of a feed without partitions."""
BYTES_A_RUN = 600_000_000
"""Most bytes of text that one load reads, for it holds what it reads in memory: eight million purchases, at 650 bytes a
line some five gigabytes. Packed files weigh tenfold, so it is 60 MB of Parquet: of the densest, ten bytes a line, no
more lines than of text. A single day is never split, whatever it weighs."""
PACKED, UNPACKED_BY = ("parquet", "csv.gz"), 10


@dataclass(frozen=True)
class Step:
    """One run that is due: some assets of a job, for a stretch of partitions where they have a grid."""

    job: str
    assets: tuple[AssetKey, ...]
    first: str | None = None
    last: str | None = None
    why: str = ""
    states: str = field(default="", repr=False)
    runs: str = field(default="", repr=False)
    of_deliveries: bool = False
    """Whether the stretch is one of delivery days, where the assets have no grid."""

    @property
    def fingerprint(self) -> str:
        """The same for the same step on the same inputs and code."""
        return self._hash(self.states)

    @property
    def key(self) -> str:
        """A run key: a step that failed is not asked for again before something moved."""
        return self._hash(self.states, self.runs)

    def _hash(self, *more: str) -> str:
        text = json.dumps([self.job, [a.path for a in self.assets], self.first, self.last, *more])
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    @property
    def tags(self) -> dict[str, str]:
        """The run's tags: the stretch of partitions."""
        if self.first is None or self.last is None:
            return {}
        if self.of_deliveries:
            return {FIRST_DELIVERY: self.first, LAST_DELIVERY: self.last}
        return {
            "dagster/asset_partition_range_start": self.first,
            "dagster/asset_partition_range_end": self.last,
        }


def due_loads(home: Home) -> list[Step]:
    """A step for each feed, and each stretch of days, whose drops are not in the ledger as they are."""
    steps: list[Step] = []
    there = landed(home)
    for feed in feeds().values():
        drops = there.get(feed.feed, [])
        steps += load_steps(home, feed, not_entered(home, feed, drops), drops)
    return steps


def landed(home: Home) -> dict[str, list[Drop]]:
    """The drops that lie in the landing zone, by feed; a feed whose folder may not be listed is left out.

    Raises:
        PermissionError: none of them may be.
    """
    there, refused = dict[str, list[Drop]](), None
    for name in feeds():
        try:
            there[name] = list_drops(home.landing, name)
        except PermissionError as error:  # one folder holds up no other feed; `strays_told` names it
            refused = error
    if refused and not there:
        raise refused
    return there


def stray_files(home: Home, there: Mapping[str, Sequence[Drop]] | None = None) -> list[str]:
    """What lies in the landing zone and will never be loaded, so that nobody waits for it."""
    there = there or landed(home)
    if not home.landing.is_dir():
        return []
    (first, last), known = _grid(), sorted(there)
    return [
        *(f"{name}/: its folder may not be listed" for name in sorted(feeds().keys() - there.keys())),
        *(f"{name}: no feed has this name" for name in _unknown_names(home)),
        *(f"{feed}/{name}: {GRAMMAR}" for feed in known for name in unreadable_names(home.landing, feed)),
        *(
            f"{feed}/{drop.name}: the daily grid runs from {first} to {last}"
            for feed in known
            for drop in there[feed]
            if not first <= drop.day <= last
        ),
    ]


def _unknown_names(home: Home) -> list[str]:
    """Names that are no feed's; a store may let the folders of feeds be listed and not where they lie."""
    try:
        return unknown_names(home.landing, feeds())
    except PermissionError:
        return []


def strays_told(home: Home, there: Mapping[str, Sequence[Drop]] | None = None) -> dict[str, str]:
    """What is said of stray files, by feed or `.`: their number and where to look; a name may be a person's."""
    there = there or landed(home)
    known, (first, last) = feeds(), _grid()
    places = [name.split(":")[0].split("/")[0] for name in stray_files(home, there)]
    counts = Counter(place if place in known else "." for place in places)
    of_feed = f"{GRAMMAR}, of a day from {first} to {last}"
    told = {
        place: f"{count} names that no feed reads; look into {home.landing / place}:"
        f" {of_feed if place in known else 'expected a folder for each feed'}"
        for place, count in sorted(counts.items())
    }
    shut = "its folder may not be listed, and nothing in it is loaded; look into"
    return told | {feed: f"{shut} {home.landing / feed}" for feed in sorted(known.keys() - there.keys())}


def not_entered(home: Home, feed: Feed, drops: Sequence[Drop], until: float | None = None) -> list[Drop]:
    """Of some drops those that the ledger does not hold with this content, read by this layout.

    A file that the ledger does not know is not read for it, nor one that did not move since it was compared; `until` is
    when to stop reading others (`time.monotonic`): they are taken as entered, and are compared the next time. So are
    those whose store does not answer.
    """
    known, seen = _entered(home, feed), Fingerprints(home, feed)
    first, last = _grid()
    due: list[Drop] = []
    for drop in drops:
        if not first <= drop.day <= last:
            continue
        if drop.name not in known or known[drop.name][1] != feed.version:
            due.append(drop)
            continue
        found = seen.of(drop, until)
        if found is not None and found != known[drop.name][0]:
            due.append(drop)
    seen.keep(known.keys())
    return due


def _grid() -> tuple[dt.date, dt.date]:
    """First and last day of the daily grid; asking it of each day would take longer than all the rest of a tick."""
    first, last = days.get_first_partition_key(), days.get_last_partition_key()
    return dt.date.fromisoformat(str(first)), dt.date.fromisoformat(str(last))


def _entered(home: Home, feed: Feed) -> dict[str, tuple[str, str]]:
    """File -> fingerprint and layout version, as the ledger holds them."""
    files = home.ledger(feed.feed).select("file", "fingerprint", "layout")
    return {file: (content, layout) for file, content, layout in files.iter_rows()}


def load_steps(
    home: Home, feed: Feed, drops: Sequence[Drop], there: Sequence[Drop], moving: AbstractSet[dt.date] = frozenset()
) -> list[Step]:
    """The runs that load some drops: one a stretch of days, each of no more bytes than one run may hold.

    Args:
        home: the lake.
        feed: what the drops are of.
        drops: those to be loaded.
        there: all drops of the feed in the landing zone; a day is loaded with all of its files.
        moving: days that a file is still being written of; they are left alone, and no run reads past them.
    """
    ledger = home.ledger(feed.feed)
    due = ({drop.day for drop in drops} | withdrawn(ledger, there)) - moving
    if not due:
        return []
    assets, daily = (AssetKey(["raw", feed.feed]),), feed.partitions == "daily"
    why = f"{feed.feed}: {len(drops)} of {len(there)} drops are new or were replaced"
    steps: list[Step] = []
    for first, last in _runs_of(due, there, moving, daily=daily):
        states = _states(feed, [d for d in drops if first <= d.day <= last], first, last, ledger)
        steps.append(Step(LOAD, assets, str(first), str(last), why, states, of_deliveries=not daily))
    return steps


def deliveries_asked_for(home: Home, feed: Feed, tags: Mapping[str, str], there: Sequence[Drop]) -> list[dt.date]:
    """The days of delivery that a run reads of a feed without partitions.

    Those that are due, of the stretch that its tags name; without tags as many as one run may hold. Where none of them
    is due it was asked for again: then all of which there are files, or at least what they held.
    """
    first, last = (dt.date.fromisoformat(tags.get(name, end)) for name, end in _ENDS.items())
    ledger = home.ledger(feed.feed)
    due = {drop.day for drop in not_entered(home, feed, there)} | withdrawn(ledger, there)
    due = {day for day in due if first <= day <= last}
    if not due:
        entered = cast("list[dt.date]", ledger["delivered_on"].to_list())
        again = {drop.day for drop in there} or set(entered)
        return sorted(day for day in again if first <= day <= last)
    first, last = next(_runs_of(due, there, frozenset(), daily=False))
    return [day for day in sorted(due) if first <= day <= last]


_ENDS = {FIRST_DELIVERY: "0001-01-01", LAST_DELIVERY: "9999-12-31"}


def withdrawn(ledger: pl.DataFrame, there: Sequence[Drop]) -> set[dt.date]:
    """Days with a file that was refused and is gone: loaded again, they stand without it."""
    refused = ledger.filter(pl.col("refused").is_not_null(), ~pl.col("file").is_in([d.name for d in there]))
    return set(cast("list[dt.date]", refused["delivered_on"].to_list()))


def _runs_of(
    due: AbstractSet[dt.date], there: Sequence[Drop], moving: AbstractSet[dt.date], *, daily: bool
) -> Iterator[tuple[dt.date, dt.date]]:
    """First and last day of each run. Days without a drop end a stretch of a grid, but of no other feed."""
    weight: Counter[dt.date] = Counter()
    for drop in there:
        weight[drop.day] += drop.bytes * (UNPACKED_BY if drop.format in PACKED else 1)
    first = last = min(due)
    held = 0
    for day in sorted(due):
        apart = day - last > dt.timedelta(days=1) if daily else any(last < other < day for other in moving)
        if day > first and (apart or held + weight[day] > BYTES_A_RUN):
            yield first, last
            first, held = day, 0
        last = day
        held += weight[day]
    yield first, last


def _states(feed: Feed, drops: Sequence[Drop], first: dt.date, last: dt.date, ledger: pl.DataFrame) -> str:
    """What is there of some days and what was loaded of them before.

    A drop that went from A to B and back to A must be loaded a third time; a load of other days changes nothing here.
    """
    marks = sorted((d.name, d.bytes, d.mark) for d in drops)
    days_of = {d.day for d in drops} or {first, last}
    before = ledger.filter(pl.col("delivered_on").is_in(list(days_of)))
    return json.dumps([marks, sorted(before.select("file", "fingerprint", "layout").iter_rows()), feed.version])


def newest_day(home: Home) -> dt.date | None:
    """The as-of day of everything downstream: the newest day of which purchases were accepted."""
    files = home.ledger(PURCHASES).filter(pl.col("accepted") > 0)
    return cast("dt.date | None", files["delivered_on"].max())


def held_back(instance: DagsterInstance, graph: Graph, home: Home) -> dict[AssetKey, list[str]]:
    """Assets that stand on one whose blocking check did not pass when it was last asked for, and which check that is.

    A check that was planned and never answered, since its run was killed or the check itself failed, has not passed.
    """
    return _held(graph, _blocking(instance, graph, home, Records(instance, graph.toposorted_asset_keys)))


def _held(graph: Graph, answers: Sequence[tuple[AssetCheckKey, bool | None]]) -> dict[AssetKey, list[str]]:
    held: dict[AssetKey, list[str]] = {}
    for check, passed in answers:
        if not passed:
            for key in standing_on(graph, check.asset_key):
                held.setdefault(key, []).append(f"{check.asset_key.to_user_string()}:{check.name}")
    return held


def _blocking(
    instance: DagsterInstance, graph: Graph, home: Home, records: Records
) -> list[tuple[AssetCheckKey, bool | None]]:
    """Each blocking check that was ever asked for, and whether it passed; None where it never answered.

    A feed that never brought anything reads as empty: what became of its first load holds nothing back.
    """
    wanted = [key for key in graph.asset_check_keys if graph.get(key).blocking]
    newest = instance.event_log_storage.get_latest_asset_check_execution_by_key(wanted)
    answers: list[tuple[AssetCheckKey, bool | None]] = []
    for check, record in sorted(newest.items(), key=lambda item: str(item[0])):
        if not _never_came(records, home, check.asset_key):
            evaluation = record.event.asset_check_evaluation if record.event else None
            answers.append((check, None if evaluation is None else evaluation.passed))
    return answers


def _never_came(records: Records, home: Home, key: AssetKey) -> bool:
    if key.path[0] != "raw" or records.latest(key, None) is not None:
        return False
    # A load that was killed between the two has written rows that nothing was recorded of.
    return records.version(home, ".".join(key.path)) is None


def standing_on(graph: Graph, root: AssetKey) -> set[AssetKey]:
    """What reads the asset, however many tables lie between; of assets that one function computes, all or none."""
    above, before = {root}, 0
    while len(above) > before:
        before = len(above)
        for key in graph.toposorted_asset_keys:
            if graph.get(key).parent_keys & above:
                above |= {key} | set(graph.get(key).execution_set_asset_keys)
    return above - {root}


def next_step(
    instance: DagsterInstance, graph: Graph, home: Home, jobs: Mapping[str, Sequence[AssetKey]]
) -> Step | str:
    """The next run that brings what lies downstream of the drops up to date, or a sentence why there is none.

    The arguments are those of `due_steps`.
    """
    return next(due_steps(instance, graph, home, jobs))


def next_of_the_others(
    instance: DagsterInstance, graph: Graph, home: Home, jobs: Mapping[str, Sequence[AssetKey]]
) -> Step | str:
    """As `next_step`, but for the jobs without which the others go on."""
    return next(of_the_others(due_steps(instance, graph, home, jobs)))


def of_the_others(steps: Iterator[Step | str]) -> Iterator[Step | str]:
    """Of steps those of jobs that the others wait for, and the sentence at the end."""
    return (step for step in steps if isinstance(step, str) or step.job not in PASSED_OVER)


def due_steps(
    instance: DagsterInstance, graph: Graph, home: Home, jobs: Mapping[str, Sequence[AssetKey]]
) -> Iterator[Step | str]:
    """The runs of which any may be next, each for when those before it cannot be taken.

    After a step come those that do not stand on its assets: one that fails, or waits for its next try, holds back what
    reads them and nothing else. A sentence that says what holds for the rest is the last.

    Args:
        instance: where materializations and check evaluations are recorded.
        graph: the assets.
        home: the lake.
        jobs: the assets of each job, in the order in which jobs follow each other.
    """
    day = newest_day(home)
    if day is None:
        yield "no purchases were loaded yet"
        return
    records = Records(instance, graph.toposorted_asset_keys)
    answers = _blocking(instance, graph, home, records)
    held = _held(graph, answers)
    # What a run left without the answer of a blocking check is due again, and its checks with it.
    unanswered = {check.asset_key for check, passed in answers if passed is None}
    yield from _load_again(records, home, unanswered)
    waiting: list[str] = []
    behind: set[AssetKey] = set()
    for job, wanted in jobs.items():
        if job == HISTORY_JOB:
            if step := _history(records, graph, home, wanted, held.keys() | behind):
                yield step
            continue
        due = _due(records, graph, home, wanted, day, unanswered)
        waiting += [f"{key.to_user_string()} waits for {', '.join(held[key])}" for key in due if key in held]
        free = tuple(key for key in due if key not in held and key not in behind)
        if free:
            yield _step(records, graph, home, job, free, day)
            behind |= {above for key in free for above in standing_on(graph, key)}
    stands = f"everything else stands on {day}" if behind else f"everything stands on {day}"
    yield f"held back by a blocking check: {'; '.join(waiting[:3])}" if waiting else stands


def _step(records: Records, graph: Graph, home: Home, job: str, assets: tuple[AssetKey, ...], day: dt.date) -> Step:
    """A run over some assets of one job: as of the day, or over all partitions of another grid."""
    grids = [grid for key in assets if (grid := graph.get(key).partitions_def) is not None]
    other = [grid.get_partition_keys() for grid in grids if grid != days]
    first, last = (other[0][0], other[0][-1]) if other else (str(day), str(day))
    inputs = [(graph.get(key).code_version, input_states(records, graph, home, key, str(day))) for key in assets]
    # The assets' own runs belong to the key: inputs that go from A to B and back to A are a third step, not the first.
    runs = [entry.run_id if (entry := records.latest(key, None)) else None for key in assets]
    why = f"{len(assets)} assets do not stand on {day} yet"
    return Step(
        job, assets, first if grids else None, last if grids else None, why, json.dumps(inputs), json.dumps(runs)
    )


def _load_again(records: Records, home: Home, unanswered: set[AssetKey]) -> Iterator[Step]:
    """Loads that were killed between their rows and their checks: the newest day again, for the sake of the checks."""
    for key in sorted(key for key in unanswered if key.path[0] == "raw"):
        feed, entry = feeds()[key.path[1]], records.latest(key, None)
        day = home.ledger(feed.feed)["delivered_on"].max()
        if entry is not None and day is not None:
            why, by_day = f"{feed.feed}: a load ended before its checks", feed.partitions == "daily"
            # Not the run that left it so: each load that was to mend it and failed would be another step.
            entered = sorted(home.ledger(feed.feed).select("file", "fingerprint", "layout").iter_rows())
            states = json.dumps([records.version(home, f"raw.{feed.feed}"), entered])
            yield Step(LOAD, (key,), str(day), str(day), why, states, entry.run_id, of_deliveries=not by_day)


def _due(
    records: Records,
    graph: Graph,
    home: Home,
    wanted: Sequence[AssetKey],
    day: dt.date,
    unanswered: set[AssetKey],
) -> list[AssetKey]:
    """Of the assets of one job those that are missing, stale or unchecked, and those of the job that stand on them.

    Assets that one function computes are due together.
    """
    due: set[AssetKey] = set()
    ordered = [key for key in graph.toposorted_asset_keys if key in set(wanted)]
    for key in ordered:
        if stands_on(graph, key) & due or key in unanswered or _stale(records, graph, home, key, str(day)):
            due |= {key} | set(graph.get(key).execution_set_asset_keys)
    # What stands on a sibling that became due after it was looked at.
    for key in ordered:
        if stands_on(graph, key) & due:
            due |= {key} | set(graph.get(key).execution_set_asset_keys)
    return [key for key in ordered if key in due]


def _stale(records: Records, graph: Graph, home: Home, key: AssetKey, day: str) -> bool:
    grid = graph.get(key).partitions_def
    parts = [None] if grid is None else [day] if grid == days else list(grid.get_partition_keys())
    return any(_part_stale(records, graph, home, key, part) for part in parts)


def _part_stale(records: Records, graph: Graph, home: Home, key: AssetKey, part: str | None) -> bool:
    """Missing, computed by other code, or read from states that are no longer those of now."""
    entry = records.latest(key, part)
    if entry is None or entry.asset_materialization is None:
        return True
    recorded = entry.asset_materialization.metadata.get(INPUTS)
    return (
        recorded is None
        or tag(entry, CODE_VERSION) != graph.get(key).code_version
        or recorded.value != input_states(records, graph, home, key, part)
    )


def _history(
    records: Records, graph: Graph, home: Home, wanted: Sequence[AssetKey], held: AbstractSet[AssetKey]
) -> Step | None:
    """The newest stretch of days that a table with a history lacks, for all such tables that lack it.

    A past day stays as it was known then: days that are there are not asked for.
    """
    expected = _days_of_history(home)
    lacks: dict[AssetKey, set[dt.date]] = {}
    for key in wanted:
        have = {dt.date.fromisoformat(part) for part in records.partitions(key)}
        if have and expected - have and key not in held:
            lacks[key] = expected - have
    if not lacks:
        return None
    missed = next(iter(lacks.values()))
    first, last = list(stretches(sorted(missed)))[-1]
    stretch = {day for day in missed if first <= day <= last}
    keys = tuple(key for key, missing in lacks.items() if stretch <= missing)
    why = f"{', '.join(key.to_user_string() for key in keys)}: days of the history are missing"
    states = json.dumps([input_states(records, graph, home, key, str(last)) for key in keys])
    return Step(HISTORY_JOB, keys, str(first), str(last), why, states)


def _days_of_history(home: Home) -> set[dt.date]:
    """The days that were loaded, and the last days of weeks and months that brought no drop in the week that followed.

    On those the shop was closed. Weeks and months end on them all the same.
    """
    loaded = set(cast("list[dt.date]", home.ledger(PURCHASES)["delivered_on"].to_list()))
    if not loaded:
        return set()
    span = [min(loaded) + dt.timedelta(days=n) for n in range((max(loaded) - min(loaded)).days - 6)]
    return loaded | {day for day in span if day.isoweekday() == 7 or (day + dt.timedelta(days=1)).day == 1}
