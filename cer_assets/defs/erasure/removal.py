"""The way of an erasure through landing zone, raw tables, lake and files; a second time it finds nothing to do.

Nothing is remembered in clear: whom it is about is told by the suppression list, which is written before anything is
removed, and found again by hashing what is still there.
"""

import datetime as dt
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from cer_assets.defs.erasure.listed import KEPT, LIST, REQUESTS, keyed, receipts, requests, suppression
from cer_assets.defs.partitions import days as grid
from cer_assets.defs.plan import not_entered
from cer_assets.defs.raw.component import DELIVERED_ON, enter, with_files_gone
from cer_assets.defs.resources import LEDGER, Home, drop_bytes, feeds, memory_limit, timezone
from cer_assets.erasure import (
    CannotLookInto,
    Suppression,
    asked,
    kept_out,
    key_mark,
    lines_without_suppressed,
    listed,
    names_people,
    persons,
    too_large_to_look_into,
    values_of,
    without_suppressed,
)
from cer_assets.erasure.people import VISITS
from cer_assets.erasure.receipts import FILE, MODEL, NOT_READ, SAME, TABLE, WRITTEN_ANEW, lines, under_way, with_lines
from cer_assets.erasure.stores import clear, forget_truth, stored_versions, unlearn
from cer_assets.erasure.suppression import RECORD
from cer_assets.erasure.traces import counted, engine, held_by_file, naming, remove, tables_of_people
from cer_assets.feeds import Drop, Feed, fingerprint, list_drops, read_drops, write
from cer_assets.lake.files import ABANDONED

REJECTS = "_rejects"
_COUNTS = {"": "accepted", REJECTS: "rejected"}
"""Endings of a feed's tables, and the ledger's column that counts their rows."""
ASKING = "erasure_requests"
"""The feed whose rows go last of all: for as long as it holds one, an erasure has not come to its end."""
BYTES_AT_ONCE = 100_000_000
"""Of compressed files whose days are loaded again together."""
UNFINISHED = "{}/: unfinished files"
"""The name on a receipt of what was left unfinished in a feed's folder, or in `.`, anywhere else."""
_MOST_LOOKS = 3
_CONTRACT_OF_PEOPLE = "customer_record"
_SAID_OF_PEOPLE = ("full_name", "given_name", "surname", "email", "phone")


def begin(home: Home) -> int:
    """Put whom the waiting requests are about on the list, and what they were found in on the receipts.

    The receipts come first: a run killed between the two finds the same again. Returns how many requests are new.

    Raises:
        Failure: a request waits and the key is missing, or is not the list's.
    """
    waiting = requests(home)
    if waiting.is_empty():
        return 0
    secret, known = keyed(), suppression(home)
    named = asked(waiting, secret)
    named = named.filter(known.requests(RECORD, named["record_id"]).is_null())
    if named.is_empty():
        return 0
    links = _read(home, "identity.links", ["record_id", "customer_id"])
    former = _read(home, "identity.survivors", ["old_id", "customer_id"])
    new = listed(named, links, former, _visits(home), secret)
    values = values_of(secret, _said_of(home, Suppression(new, secret)))
    people = persons(named, links)
    found = _found(home, people, Suppression(new, secret).with_more(values))
    home.lake.publish(KEPT, with_lines(receipts(home), found))
    mark = key_mark(secret) if not len(known) else known.listed.clear()
    held = home.lake.scan(LIST).collect() if home.lake.exists(LIST) else known.listed.clear()
    home.lake.publish(LIST, pl.concat([held, mark, new]).unique().sort("kind", "hash"))
    return named.height


def _found(home: Home, people: pl.DataFrame, of: Suppression) -> pl.DataFrame:
    """The receipts' lines before anything is touched."""
    told: list[pl.DataFrame] = []
    files = pl.DataFrame(schema={"request": pl.String, "name": pl.String, "rows": pl.Int64})
    with engine(home.lake, str(spill(home)), memory_limit()) as con:
        for table in tables_of_people(home.lake):
            where = counted(con, table, naming(con, table, of, feeds()))
            rows, of_files = _rows_told(table, where)
            told.append(lines(people, TABLE, rows))
            files = pl.concat([files, of_files])
    told.append(lines(people, FILE, files.group_by("request", "name").agg(pl.col("rows").sum())))
    each = people.filter(pl.col("person") == pl.col("request")).select("request")
    told.append(lines(people, MODEL, each.join(stored_versions(home.models.root), how="cross")))
    anew = [path for path in (home.caches, home.reports, home.warehouse, home.truth) if path.exists()]
    made = pl.DataFrame({"name": [path.name for path in anew]}, schema={"name": pl.String})
    told.append(lines(people, WRITTEN_ANEW, each.join(made, how="cross").with_columns(rows=pl.lit(None))))
    same = people.filter(pl.col("person") != pl.col("request")).select("request", name="person", rows=pl.lit(None))
    told.append(lines(people, SAME, same))
    values = of.listed.filter(pl.col("kind").is_in(["email", "phone", "name"]))
    for (kind,), part in values.partition_by("kind", as_dict=True).items():
        told.append(lines(people, str(kind), part.select("request", name="hash", rows=pl.lit(None))))
    return pl.concat(told)


def _rows_told(table: str, counts: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What `counted` found as receipts tell it, `request`, `name`, `rows`: of the table, and of its files."""
    rows = counts.group_by("request").agg(pl.col("rows").sum()).with_columns(name=pl.lit(table))
    file = pl.col("file") if "file" in counts.columns else pl.lit(None, pl.String)
    named = counts.with_columns(name=pl.lit(f"{table.removeprefix('raw.').removesuffix(REJECTS)}/") + file)
    return rows.select("request", "name", "rows"), named.drop_nulls("name").select("request", "name", "rows")


def carry_out(home: Home) -> dict[str, int]:
    """Remove whoever is on the list from landing zone, raw tables, lake, caches; returns what this run removed.

    A model is told to be trained anew only where raw rows go, for then everything that it stands on is due.
    """
    of = suppression(home)
    figures = {"files rewritten": 0, "rows taken out of files": 0, "rows taken out of tables": 0}
    if not len(of):
        return figures
    if _told_in_raw(home, of):
        unlearn(home.models.root)
    last = [feed for name, feed in feeds().items() if name == ASKING]
    for feed in [*(feed for feed in feeds().values() if feed not in last), *last]:
        if feed in last:
            for each in feeds().values():
                _outside_the_grid(home, each, of, figures)
            _strays(home, of, figures)
            _tables(home, of, figures, [table for table in tables_of_people(home.lake) if table != REQUESTS])
            clear(home.caches)
            forget_truth(home.truth, of)
        if names_people(feed):
            _files(home, feed, of, figures)
    _tables(home, of, figures, [REQUESTS] if home.lake.exists(REQUESTS) else [])
    return figures


def _told_in_raw(home: Home, of: Suppression) -> bool:
    """Whether raw tables hold somebody; the receipts tell which, and out of which files, before anything goes."""
    held = False
    with engine(home.lake, str(spill(home)), memory_limit()) as con:
        for table in tables_of_people(home.lake):
            if table.startswith("raw.") and table not in (REQUESTS, f"{REQUESTS}{REJECTS}"):
                found = naming(con, table, of, feeds())
                if found:
                    held = True
                    _tell_rows(home, *_rows_told(table, counted(con, table, found)))
    return held


def _tables(home: Home, of: Suppression, figures: dict[str, int], tables: Sequence[str]) -> None:
    """Take the rows out of tables; the receipts tell it before, and the ledger counts those of raw ones out."""
    counts = {f"raw.{name}{ending}": (name, count) for name in feeds() for ending, count in _COUNTS.items()}
    with engine(home.lake, str(spill(home)), memory_limit()) as con:
        for table in tables:
            found = naming(con, table, of, feeds())
            if found:
                rows = counted(con, table, found)
                figures["rows taken out of tables"] += int(rows["rows"].sum())
                _tell_rows(home, *_rows_told(table, rows))
                if table in counts:
                    gone = rows.group_by(DELIVERED_ON, "file").agg(gone=pl.col("rows").sum())
                    _settle(home, *counts[table], gone.join(held_by_file(con, table), on=[DELIVERED_ON, "file"]))
                remove(con, home.lake, table, found)


def _settle(home: Home, feed: str, count: str, gone: pl.DataFrame) -> None:
    """Count rows that are about to go out of the ledger, so that what was lost before is still missed.

    A run that is killed between this and the removal counts the same rows again: where the ledger tells no more than
    the table will hold, they are out of it already.

    Args:
        home: whose ledger.
        feed: the rows' feed.
        count: the ledger's column that counts them.
        gone: by `delivered_on` and `file`: how many rows are to go (`gone`), and stand there before that (`held`).
    """
    files = home.ledger(feed).join(gone, on=[DELIVERED_ON, "file"], how="left", maintain_order="left")
    out = pl.min_horizontal("gone", pl.col(count) - (pl.col("held") - pl.col("gone"))).clip(0).fill_null(0)
    files = files.with_columns(pl.col(count) - out, delivered=pl.col("delivered") - out).drop("gone", "held")
    home.lake.publish(LEDGER, files.sort("feed", DELIVERED_ON, "file"), partition_by="feed", keys=[feed])


@dataclass(frozen=True)
class _Rewritten:
    """A file with its new content, staged until the ledger knows it."""

    drop: Drop
    staged: Drop
    rows: dict[str, int]


def _files(home: Home, feed: Feed, of: Suppression, figures: dict[str, int]) -> None:
    """Rewrite the files of a feed that hold somebody on the list, and load their days again, a few at a time."""
    there = list_drops(home.landing, feed.feed)
    never = {drop.name for drop in _never_loaded(home, feed, there)}
    there = [drop for drop in there if drop.name not in never]
    wanted = _asked_of(home, feed)
    days = sorted({drop.day for drop in there if drop.name in wanted})
    for some in _at_once(days, there):
        with tempfile.TemporaryDirectory(dir=spill(home)) as folder:
            of_days = [drop for drop in there if drop.day in set(some)]
            rewritten = list(_rewrite(home, feed, [d for d in of_days if d.name in wanted], of, Path(folder)))
            if rewritten:
                _load_again(home, feed, of_days, rewritten, of)
                figures["files rewritten"] += len(rewritten)
                figures["rows taken out of files"] += sum(sum(each.rows.values()) for each in rewritten)


def _asked_of(home: Home, feed: Feed) -> set[str]:
    """The files of a feed to look into: where rows stood, where rows were kept out, and what nobody could read."""
    told = under_way(receipts(home)).filter(pl.col("kind") == FILE, pl.col("name").str.starts_with(f"{feed.feed}/"))
    names = set(told["name"].str.strip_prefix(f"{feed.feed}/").to_list())
    ledger = home.ledger(feed.feed)
    odd = ledger.filter((pl.col("suppressed") > 0) | pl.col("refused").is_not_null())
    return names | set(odd["file"].to_list())


def _at_once(days: Sequence[dt.date], there: Sequence[Drop]) -> Iterator[list[dt.date]]:
    held: list[dt.date] = []
    weight = 0
    for day in days:
        own = sum(drop.bytes for drop in there if drop.day == day)
        if held and weight + own > BYTES_AT_ONCE:
            yield held
            held, weight = [], 0
        held.append(day)
        weight += own
    if held:
        yield held


def _rewrite(home: Home, feed: Feed, drops: Sequence[Drop], of: Suppression, folder: Path) -> Iterator[_Rewritten]:
    for number, drop in enumerate(drops):
        name = f"{feed.feed}/{drop.name}"
        try:
            cleaned = without_suppressed(feed, drop, of, timezone(), drop_bytes())
        except CannotLookInto:
            _tell(home, NOT_READ, name, None)
            continue
        if cleaned is None:
            continue
        _tell(home, FILE, name, cleaned.rows)
        if cleaned.doubtful:
            _tell(home, NOT_READ, name, None)
        path = folder / f"{number}.{drop.format}"
        path.write_bytes(cleaned.content)
        yield _Rewritten(drop, replace(drop, path=path, bytes=len(cleaned.content)), cleaned.rows)


def _load_again(
    home: Home, feed: Feed, there: Sequence[Drop], rewritten: Sequence[_Rewritten], of: Suppression
) -> None:
    """Load the days of rewritten files from what was staged, enter it, and only then put the files in place.

    So the ledger knows each file before it lies there, and no sensor asks for it. A day that is due anyway is left to
    its load; a file that was replaced meanwhile is left alone, for it is due as well.
    """
    own = {each.drop.name: each for each in rewritten}
    due = {drop.day for drop in not_entered(home, feed, there)}
    days = sorted({each.drop.day for each in rewritten} - due)
    drops = [own[d.name].staged if d.name in own else d for d in there if d.day in set(days)]
    if drops:
        read = kept_out(feed, read_drops(feed, drops, timezone(), drop_bytes()), of)
        delivery = with_files_gone(home, feed, read, days)
        raw = {f"raw.{feed.feed}": delivery.accepted, f"raw.{feed.feed}{REJECTS}": delivery.rejects}
        for table, frame in raw.items():
            home.lake.publish(table, frame, partition_by=DELIVERED_ON, keys=days)
        enter(home, feed, delivery.files, days)
    _put_in_place(home, feed, rewritten)


def _never_loaded(home: Home, feed: Feed, there: Sequence[Drop]) -> list[Drop]:
    """Of some drops those outside the daily grid that no load read as they are, so that no ledger tells of them."""
    first, last = (str(day) for day in (grid.get_first_partition_key(), grid.get_last_partition_key()))
    outside = [drop for drop in there if not first <= drop.day.isoformat() <= last]
    known = dict(home.ledger(feed.feed).select("file", "fingerprint").iter_rows()) if outside else {}
    return [drop for drop in outside if drop.name not in known or known[drop.name] != fingerprint(drop)]


def _outside_the_grid(home: Home, feed: Feed, of: Suppression, figures: dict[str, int]) -> None:
    """Rewrite the drops of a feed that no load reads; one that is replaced again and again is told instead."""
    drops = _never_loaded(home, feed, list_drops(home.landing, feed.feed))
    for _ in range(_MOST_LOOKS):
        replaced: set[str] = set()
        for drop in drops:
            with tempfile.TemporaryDirectory(dir=spill(home)) as folder:
                rewritten = list(_rewrite(home, feed, [drop], of, Path(folder)))
                replaced |= _put_in_place(home, feed, rewritten)
            figures["files rewritten"] += len(rewritten)
            figures["rows taken out of files"] += sum(sum(each.rows.values()) for each in rewritten)
        drops = [drop for drop in list_drops(home.landing, feed.feed) if drop.name in replaced]
    for drop in drops:
        _tell(home, NOT_READ, f"{feed.feed}/{drop.name}", None)


def _put_in_place(home: Home, feed: Feed, rewritten: Sequence[_Rewritten]) -> set[str]:
    """What was staged takes its file's place; returns the names of files that were replaced meanwhile, left alone."""
    now = {drop.name: drop.mark for drop in list_drops(home.landing, feed.feed)} if rewritten else {}
    for each in rewritten:
        if now.get(each.drop.name) == each.drop.mark:
            write(each.drop.path, each.staged.path.read_bytes())
    return {each.drop.name for each in rewritten if now.get(each.drop.name) != each.drop.mark}


def _strays(home: Home, of: Suppression, figures: dict[str, int]) -> None:
    """What lies in the landing zone and is no drop: line by line, where it is text.

    What is hidden, or ends in .tmp or .part, is still being written: once it is a drop, its load keeps them out. What
    was left like that may never become one: the receipt names where it lies.
    """
    if not home.landing.is_dir():
        return
    for place in left_unfinished(home):
        _tell(home, NOT_READ, place, None)
    drops = {str(drop.path) for name in feeds() for drop in list_drops(home.landing, name)}
    for path in sorted(home.landing.rglob("*"), key=str):
        if str(path) in drops or _is_unfinished(path.name) or not path.is_file():
            continue
        name = str(path)[len(str(home.landing)) + 1 :]
        try:
            if path.stat().st_size > drop_bytes():
                raise too_large_to_look_into(name, drop_bytes())
            cleaned = lines_without_suppressed(name, path.read_bytes(), of, drop_bytes())
        except CannotLookInto:
            _tell(home, NOT_READ, name, None)
            continue
        if cleaned is not None:
            _tell(home, FILE, name, cleaned.rows)
            if cleaned.doubtful:
                _tell(home, NOT_READ, name, None)
            write(path, cleaned.content)
            figures["files rewritten"] += 1


def left_unfinished(home: Home) -> dict[str, int]:
    """Where files lie that nobody went on writing for a day, and how many: by place, for a name may be a person's."""
    found: Counter[str] = Counter()
    for path in home.landing.rglob("*") if home.landing.is_dir() else ():
        if not _is_unfinished(path.name):
            continue
        try:
            about = path.stat()
            left = path.is_file() and about.st_size and about.st_mtime < time.time() - ABANDONED
        except FileNotFoundError:  # finished since
            continue
        if left:
            folder = str(path)[len(str(home.landing)) + 1 :].partition("/")[0]
            found[UNFINISHED.format(folder if folder in feeds() else ".")] += 1
    return dict(sorted(found.items()))


def _is_unfinished(name: str) -> bool:
    return name.startswith(".") or name.endswith((".tmp", ".part"))


def _tell(home: Home, kind: str, name: str, rows: dict[str, int] | None) -> None:
    """A line on the receipts, for what was found in a file rather than in the tables."""
    held = receipts(home)
    if rows is None:
        found = under_way(held).select("request").unique().with_columns(name=pl.lit(name), rows=pl.lit(None, pl.Int64))
    else:
        found = pl.DataFrame(
            [(request, name, count) for request, count in sorted(rows.items())],
            schema={"request": pl.String, "name": pl.String, "rows": pl.Int64},
            orient="row",
        )
    home.lake.publish(KEPT, with_lines(held, lines(held, kind, found)))


def _tell_rows(home: Home, rows: pl.DataFrame, of_files: pl.DataFrame) -> None:
    """Lines for rows found in a table, where the receipts do not tell them yet.

    They tell those of a new request. Others were computed or let in since: what is older than their removal goes too.
    """
    held = receipts(home)
    of_files = of_files.group_by("request", "name").agg(pl.col("rows").sum())
    told = with_lines(held, pl.concat([lines(held, TABLE, rows), lines(held, FILE, of_files)]))
    if told.height > held.height:
        home.lake.publish(KEPT, told)


def spill(home: Home) -> Path:
    """Where what does not fit into memory goes, and what is staged."""
    folder = Path(home.root, "spill")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _read(home: Home, table: str, columns: list[str]) -> pl.DataFrame:
    if not home.lake.exists(table):
        return pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    return home.lake.scan(table).select(columns).collect()


def _visits(home: Home) -> pl.DataFrame:
    """Events that name both a device and a record."""
    if not home.lake.exists("raw.events"):
        return VISITS.to_frame()
    both = pl.col("anonymous_id").is_not_null() & pl.col("source_id").is_not_null()
    return home.lake.scan("raw.events").filter(both).select(VISITS.names()).unique().collect()


def _said_of(home: Home, of: Suppression) -> pl.DataFrame:
    """What the records on the list hold, in every delivery: `request`, and the fields that somebody is named by."""
    held = [pl.DataFrame(schema={"request": pl.String, **dict.fromkeys(_SAID_OF_PEOPLE, pl.String)})]
    for name, feed in feeds().items():
        if feed.contract == _CONTRACT_OF_PEOPLE and home.lake.exists(f"raw.{name}"):
            keys = home.lake.scan(f"raw.{name}").select("source", "source_id").unique().collect()
            own = keys.with_columns(of.of_rows(keys)).drop_nulls("request")
            rows = home.lake.scan(f"raw.{name}").join(own.lazy(), on=["source", "source_id"], how="inner")
            held.append(rows.select("request", *_SAID_OF_PEOPLE).collect())
    return pl.concat(held)
