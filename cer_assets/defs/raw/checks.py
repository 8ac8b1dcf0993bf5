"""Whether a delivery can be trusted: every file read, nothing lost, little rejected, no key twice, much as usual."""

from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg
import polars as pl
from sqlglot import exp

from cer_assets.defs.io import table
from cer_assets.defs.resources import Engine, Home
from cer_assets.feeds import CONTRACTS, Feed, key_columns

_TOLD = 3
_COUNTED = ["delivered", "held", "turned_away", "suppressed"]


def feed_checks(feed: Feed) -> list[dg.AssetChecksDefinition]:
    """The checks of one feed."""
    checks = [_every_file_read(feed), _nothing_lost(feed), _little_rejected(feed), _keys_once(feed)]
    return [*checks, _usual_volume(feed)] if feed.partitions == "daily" else checks


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
    def nothing_lost(home: Home) -> dg.AssetCheckResult:
        held = _count(home, f"raw.{feed.feed}", "held")
        rejects = _count(home, f"raw.{feed.feed}_rejects", "turned_away")
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


def _count(home: Home, name: str, column: str) -> pl.DataFrame:
    rows = home.lake.scan(name)
    return rows.group_by("delivered_on", "file").agg(pl.len().cast(pl.Int64).alias(column)).collect()


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
        description="The newest day holds between a third and three times the median rows of the 28 days before it.",
    )
    def usual_volume(home: Home) -> dg.AssetCheckResult:
        by_day = home.ledger(feed.feed).group_by("delivered_on").agg(pl.col("accepted").sum()).sort("delivered_on")
        newest, before = by_day.tail(1), by_day.head(-1).tail(28)
        usual = before["accepted"].median()
        rows = int(newest["accepted"].sum())
        usual_rows = float(usual) if isinstance(usual, int | float) else float(rows)
        return dg.AssetCheckResult(
            passed=usual_rows / 3 <= rows <= usual_rows * 3,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "day": str(newest["delivered_on"].max()),
                "rows": rows,
                "median of the 28 days before": usual_rows,
            },
        )

    return usual_volume
