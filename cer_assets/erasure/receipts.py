"""What an erasure touched, as rows of counts: no personal value and no id stands in them, only the request's hash."""

import datetime as dt

import polars as pl

TABLE, FILE, MODEL, VERSIONS, SNAPSHOTS, WRITTEN_ANEW, SAME, NOT_READ = (
    "table",
    "landing file",
    "model",
    "versions",
    "snapshots",
    "written anew",
    "same person",
    "nobody can look into it",
)
"""Kinds of what is touched: rows of a table; rows of a delivered file; a model that is trained anew; versions of a
table that are no longer kept; snapshots that are no longer kept; files that are made anew; another request about the
same person, whose receipt lists it all; and a file, or what was left unfinished in a folder, of which nobody can say
whether it names the person, for somebody to act."""
OF_FILES = (FILE, NOT_READ)
"""Kinds that tell of files of the landing zone alone: no table and no model held what was found."""

RECEIPTS = pl.Schema(
    {
        "request": pl.String,
        "asked_at": pl.Datetime("us"),
        "kind": pl.String,
        "name": pl.String,
        "rows": pl.Int64,
        "done_at": pl.Datetime("us"),
    }
)
"""Columns of the receipts; `done_at` is null for as long as the erasure is under way."""
_LINE = ["request", "kind", "name"]


def lines(requests: pl.DataFrame, kind: str, found: pl.DataFrame) -> pl.DataFrame:
    """Lines of receipts that are under way.

    Args:
        requests: `request`, `asked_at`.
        kind: one of the kinds above.
        found: `request`, `name`, `rows`.
    """
    told = found.with_columns(kind=pl.lit(kind), done_at=pl.lit(None)).join(
        requests.select("request", "asked_at").unique("request", keep="first", maintain_order=True),
        on="request",
        how="left",
    )
    return told.select(pl.col(name).cast(kind_of) for name, kind_of in RECEIPTS.items())


def under_way(receipts: pl.DataFrame) -> pl.DataFrame:
    """The lines of what is not done yet."""
    return receipts.filter(pl.col("done_at").is_null())


def with_lines(receipts: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """Receipts with further lines under way; what is told already stays as it was told first.

    A run that was killed finds less the second time: the first count is the one that holds.
    """
    more = new.join(under_way(receipts), on=_LINE, how="anti", nulls_equal=True)
    return in_order(pl.concat([receipts, more.unique(_LINE, keep="first", maintain_order=True)]))


def done(receipts: pl.DataFrame, done_at: dt.datetime) -> pl.DataFrame:
    """Receipts of which none is under way any more.

    Args:
        receipts: as they stand.
        done_at: when it was done, by the retailer's clock: a receipt speaks of the world, nothing is computed from it.
    """
    return in_order(receipts.with_columns(pl.col("done_at").fill_null(pl.lit(done_at, pl.Datetime("us")))))


def in_order(receipts: pl.DataFrame) -> pl.DataFrame:
    """Receipts in the order in which they are kept."""
    return receipts.select(RECEIPTS.names()).sort("done_at", "request", "kind", "name", nulls_last=True)
