"""Whether a delivery can be trusted: every file read, nothing lost, little rejected, no key twice, much as usual."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
from numpy.typing import NDArray
from sqlglot import exp

from cer_assets.defs.io import table
from cer_assets.defs.resources import Engine, Home
from cer_assets.feeds import CONTRACTS, Feed, contract_columns, key_columns

_TOLD = 3
_HISTORY, _ENOUGH = 28, 7
"""So many deliveries tell what is usual, and so many must there be at least: the same days of four weeks."""
_SPREADS, _POINTS = 5, 0.05
"""How many standard deviations, or how much of all rows, a figure may be off: one alarm in years by chance alone."""
_COUNTED = ["delivered", "held", "turned_away", "suppressed"]


def feed_checks(feed: Feed) -> list[dg.AssetChecksDefinition]:
    """The checks of one feed."""
    return [
        _every_file_read(feed),
        _nothing_lost(feed),
        _little_rejected(feed),
        _keys_once(feed),
        _usual_volume(feed),
        _usual_gaps(feed),
    ]


def _check(
    feed: Feed, name: str, *, blocking: bool, description: str
) -> Callable[[Callable[..., Any]], dg.AssetChecksDefinition]:
    return dg.asset_check(asset=dg.AssetKey(["raw", feed.feed]), name=name, blocking=blocking, description=description)


def _every_file_read(feed: Feed) -> dg.AssetChecksDefinition:
    @_check(
        feed,
        "every_file_read",
        blocking=True,
        description="No file was refused because it cannot be read at all. Of one that was the table holds no row, nor"
        " any of the file it replaced; the other files are loaded.",
    )
    def every_file_read(home: Home) -> dg.AssetCheckResult:
        files = home.ledger(feed.feed)
        refused = files.filter(pl.col("refused").is_not_null()).sort("delivered_on", "file", descending=[True, False])
        told = refused["refused"].head(_TOLD).to_list()
        more = [f"and {refused.height - _TOLD} more"] if refused.height > _TOLD else []
        metadata = {"files": files.height, "refused": refused.height, "bound": 0}
        if refused.height:
            metadata |= {"which": table(refused.select("delivered_on", "file", "refused"))}
        return dg.AssetCheckResult(
            passed=refused.is_empty(),
            description="\n".join([*told, *more]) or None,
            metadata=metadata,
        )

    return every_file_read


def _nothing_lost(feed: Feed) -> dg.AssetChecksDefinition:
    @_check(
        feed,
        "nothing_lost",
        blocking=True,
        description="In every file, the rows counted in it independently are the rows accepted plus the rows rejected"
        " plus those suppressed, whose person asked to be forgotten.",
    )
    def nothing_lost(home: Home, engine: Engine) -> dg.AssetCheckResult:
        names = [f"raw.{feed.feed}", f"raw.{feed.feed}_rejects"]
        with engine.over(names) as con:
            held, rejects = (con.sql(_by_file(name)).pl() for name in names)
        held, rejects = held.rename({"rows": "held"}), rejects.rename({"rows": "turned_away"})
        files = (
            home.ledger(feed.feed)
            .join(held, on=["delivered_on", "file"], how="full", coalesce=True)
            .join(rejects, on=["delivered_on", "file"], how="full", coalesce=True)
            .with_columns(pl.col(_COUNTED).fill_null(0))
        )
        accounted = pl.sum_horizontal("held", "turned_away", "suppressed")
        wrong = files.filter(pl.col("delivered") != accounted).sort("delivered_on", "file")
        metadata = {
            "delivered": int(files["delivered"].sum()),
            "accepted": int(files["held"].sum()),
            "rejected": int(files["turned_away"].sum()),
            "suppressed": int(files["suppressed"].sum()),
            "files that do not add up": wrong.height,
        }
        if wrong.height:
            metadata |= {"which": table(wrong.select("delivered_on", "file", *_COUNTED))}
        return dg.AssetCheckResult(passed=wrong.is_empty(), metadata=metadata)

    return nothing_lost


def _by_file(table_name: str) -> str:
    """Rows of each file, counted where they lie: a table of many days is counted at each load, never brought here."""
    names = ("delivered_on", "file")
    rows = exp.select(*map(exp.column, names), exp.func("count", exp.Star()).as_("rows")).from_(table_name)
    return rows.group_by(*map(exp.column, names)).order_by(*map(exp.column, names)).sql(dialect="duckdb")


def _little_rejected(feed: Feed) -> dg.AssetChecksDefinition:
    @_check(
        feed,
        "little_rejected",
        blocking=True,
        description=f"Of no day's rows more than {feed.max_reject_share:.0%} are rejected; more is a changed layout.",
    )
    def little_rejected(home: Home) -> dg.AssetCheckResult:
        by_day = (
            home.ledger(feed.feed)
            .group_by("delivered_on")
            .agg(pl.col("delivered", "rejected").sum())
            .with_columns(share=pl.col("rejected") / pl.col("delivered").clip(1))
            .sort("delivered_on")
        )
        bad = by_day.filter(pl.col("share") > feed.max_reject_share)
        worst = by_day["share"].max()
        return dg.AssetCheckResult(
            passed=bad.is_empty(),
            description=_say(bad, feed) if bad.height else None,
            metadata={
                "worst day's share": float(worst) if isinstance(worst, float) else 0.0,
                "bound": feed.max_reject_share,
                "days over the bound": table(bad) if bad.height else "none",
            },
        )

    return little_rejected


def _say(bad: pl.DataFrame, feed: Feed) -> str:
    day, _, rejected, share = bad.tail(1).row(0)
    return (
        f"{day}: {rejected} rows rejected, {share:.1%}. See raw/{feed.feed}_rejects for the reasons, "
        f"then drop the day again; everything downstream waits."
    )


def _keys_once(feed: Feed) -> dg.AssetChecksDefinition:
    per_delivery = [] if feed.partitions == "daily" else ["delivered_on"]
    keys = [*key_columns(CONTRACTS[feed.contract]), *per_delivery]

    @_check(feed, "keys_once", blocking=True, description=f"No two rows share {', '.join(keys)}.")
    def keys_once(engine: Engine) -> dg.AssetCheckResult:
        with engine.over([f"raw.{feed.feed}"]) as con:
            ((repeated,),) = con.execute(_repeated(f"raw.{feed.feed}", keys)).fetchall()
        return dg.AssetCheckResult(
            passed=repeated == 0,
            metadata={"keys that stand twice": int(repeated), "bound": 0, "key": ", ".join(keys)},
        )

    return keys_once


def _repeated(table_name: str, keys: Sequence[str]) -> str:
    """How many keys stand on several rows.

    Only keys whose hash stands twice are looked at as they are: a table of many days is counted at each load, and as
    text its keys do not fit a process.
    """
    columns = [exp.column(key, quoted=True) for key in keys]
    mark, rows = exp.func("hash", *columns), exp.func("count", exp.Star())
    marks = exp.select(mark.as_("mark")).from_(table_name)
    twice = (
        exp.select("mark")
        .from_(marks.subquery("marks"))
        .group_by("mark")
        .having(exp.GT(this=rows, expression=exp.Literal.number(1)))
    )
    suspects = exp.select(*columns).from_(table_name).where(exp.In(this=mark.copy(), query=twice.subquery()))
    repeated = suspects.group_by(*columns).having(exp.GT(this=rows.copy(), expression=exp.Literal.number(1)))
    return exp.select(exp.func("count", exp.Star())).from_(repeated.subquery("repeated")).sql(dialect="duckdb")


def _usual_volume(feed: Feed) -> dg.AssetChecksDefinition:
    @_check(
        feed,
        "usual_volume",
        blocking=False,
        description=f"The newest delivery holds about as many rows as the {_HISTORY} before it: a third to three"
        f" times their median, or what five times their own spread allows. Silent after fewer than {_ENOUGH}.",
    )
    def usual_volume(home: Home) -> dg.AssetCheckResult:
        by_day = home.ledger(feed.feed).group_by("delivered_on").agg(pl.col("accepted").sum()).sort("delivered_on")
        newest, before = by_day.tail(1), by_day.head(-1).tail(_HISTORY)["accepted"].to_numpy()
        rows = int(newest["accepted"].sum())
        metadata: dict[str, Any] = {
            "day": str(newest["delivered_on"].max()),
            "rows": rows,
            "deliveries before": len(before),
        }
        if len(before) < _ENOUGH:
            return _warning(True, metadata)
        logs = np.log1p(before)
        spread = max(math.log(3), _SPREADS * _spread(logs))
        low, high = (math.expm1(float(np.median(logs)) + way * spread) for way in (-1, 1))
        metadata |= {"median before": float(np.median(before)), "at least": low, "at most": high}
        passed = low - 1 <= rows <= high + 1
        told = f"{metadata['day']}: {rows:,} rows accepted, expected {max(low, 0):,.0f} to {high:,.0f}"
        return _warning(passed, metadata, None if passed else f"{told} after {len(before)} deliveries before it")

    return usual_volume


def _usual_gaps(feed: Feed) -> dg.AssetChecksDefinition:
    columns = list(contract_columns(CONTRACTS[feed.contract]))

    @_check(
        feed,
        "usual_gaps",
        blocking=False,
        description=f"In the newest delivery each column is empty about as often as in the {_HISTORY} before it: five"
        " points of a hundred more or less, or what chance and five times their own spread allow. Silent after fewer"
        f" than {_ENOUGH}.",
    )
    def usual_gaps(home: Home, engine: Engine) -> dg.AssetCheckResult:
        loaded = home.ledger(feed.feed).filter(pl.col("accepted") > 0)["delivered_on"].unique().sort()
        wanted = loaded.tail(_HISTORY + 1).to_list()
        metadata: dict[str, Any] = {
            "day": str(wanted[-1]) if wanted else "none",
            "deliveries before": max(len(wanted) - 1, 0),
        }
        if len(wanted) <= _ENOUGH:
            return _warning(True, metadata)
        with engine.over([f"raw.{feed.feed}"]) as con:
            counts = con.execute(_filled(f"raw.{feed.feed}", columns), [wanted[0]]).fetchall()
        strange = _strange_gaps(columns, np.array([row[1:] for row in counts], np.float64))
        metadata |= {
            "columns out of bounds": strange.height,
            "which": table(strange) if strange.height else "none",
        }
        told = [
            f"{column}: empty in {share:.1%} of {metadata['day']}, {usual:.1%} before, bound {bound:.1%} apart"
            for column, share, usual, bound in strange.iter_rows()
        ]
        return _warning(strange.is_empty(), metadata, "; ".join(told) or None)

    return usual_gaps


def _filled(table_name: str, columns: Sequence[str]) -> str:
    """Rows by delivery since a day, and in how many of them each column holds something."""
    day = exp.column("delivered_on")
    counts = [exp.func("count", exp.column(column, quoted=True)) for column in columns]
    rows = exp.select(day, exp.func("count", exp.Star()), *counts).from_(table_name)
    since = exp.GTE(this=day.copy(), expression=exp.Placeholder())
    return rows.where(since).group_by(day.copy()).order_by(day.copy()).sql(dialect="duckdb")


def _strange_gaps(columns: Sequence[str], counts: NDArray[np.float64]) -> pl.DataFrame:
    """The columns whose share of empty values in the last delivery is out of bounds.

    Args:
        columns: names.
        counts: a row for each delivery: its rows, then the values that are there of each column.

    Returns:
        column, share (of the last delivery), usual (median of those before), bound (how far from it a share may be).
    """
    rows, shares = counts[:, :1], 1 - counts[:, 1:] / np.maximum(counts[:, :1], 1)
    before, now = shares[:-1], shares[-1]
    usual = np.median(before, axis=0)
    chance = np.sqrt(usual * (1 - usual) / max(rows[-1, 0], 1))
    bound = np.maximum(_POINTS, _SPREADS * np.maximum(chance, np.apply_along_axis(_spread, 0, before)))
    frame = pl.DataFrame({"column": list(columns), "share": now, "usual": usual, "bound": bound})
    return frame.filter((pl.col("share") - pl.col("usual")).abs() > pl.col("bound"))


def _spread(values: NDArray[np.float64]) -> float:
    """The standard deviation as the median deviation tells it, which a few outliers do not move."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def _warning(passed: bool, metadata: dict[str, Any], told: str | None = None) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=passed, severity=dg.AssetCheckSeverity.WARN, metadata=metadata, description=told)
