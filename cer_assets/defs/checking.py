"""Asset checks as a measured figure beside its bound; each stage's `checks.py` is a list of them."""

from collections.abc import Mapping
from typing import cast

import dagster as dg
from sqlglot import exp, parse_one

from cer_assets.defs.resources import Engine
from cer_assets.lake import tables_read


def bounded(
    asset: str,
    name: str,
    description: str,
    query: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    blocking: bool = False,
    parameters: Mapping[str, object] | None = None,
) -> dg.AssetChecksDefinition:
    """A check that one figure of the lake lies within its bounds.

    Args:
        asset: `schema/table`.
        name: the check's name.
        description: what it promises, as a sentence.
        query: one select of one row; its first column is the figure, further ones are shown beside it.
        at_least: the smallest figure that passes.
        at_most: the largest figure that passes.
        blocking: whether a failure holds back what stands on the asset; a figure that is null fails then.
        parameters: values that the query names as `$name`.
    """
    reads = tables_read(cast("exp.Query", parse_one(query, dialect="duckdb")), f"check {asset}:{name}")

    @dg.asset_check(
        asset=asset.split("/"),
        name=name,
        description=description,
        blocking=blocking,
        additional_deps=[name.split(".") for name in reads if name != asset.replace("/", ".")],
    )
    def check(engine: Engine) -> dg.AssetCheckResult:
        with engine.over(reads) as con:
            result = con.execute(query, parameters)
            names = [column[0] for column in result.description or []]
            (row,) = result.fetchall()
        figure = None if row[0] is None else float(row[0])
        passed = not blocking if figure is None else _within(figure, at_least, at_most)
        bounds = {"at least": at_least, "at most": at_most}
        shown = {n: "none" if v is None else float(v) for n, v in zip(names, row, strict=True)}
        return dg.AssetCheckResult(
            passed=passed,
            severity=dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN,
            description=None if passed else f"{names[0]} is {figure}, {_words(at_least, at_most)}",
            metadata=shown | {k: v for k, v in bounds.items() if v is not None},
        )

    return check


def every_customer_once(asset: str, name: str, description: str, rows: str = "true") -> dg.AssetChecksDefinition:
    """A check that some rows of a table's newest day are one for each customer of `value.rfm`.

    Args:
        asset: `schema/table`.
        name: the check's name.
        description: what it promises, as a sentence.
        rows: which rows, as a condition.
    """
    table = asset.replace("/", ".")
    return bounded(
        asset,
        name,
        description,
        f"""
        with newest as (select max(as_of) as day from {table} where {rows}),
        found as (
            select customer_id, count(*) as times from {table}, newest where as_of = day and {rows} group by customer_id
        ),
        expected as (select customer_id from value.rfm, newest where as_of = day)
        select count(*) filter (where times is distinct from 1 or expected.customer_id is null) as wrong
        from found full join expected on found.customer_id = expected.customer_id
        """,
        at_most=0,
        blocking=True,
    )


def _within(figure: float, at_least: float | None, at_most: float | None) -> bool:
    return (at_least is None or figure >= at_least) and (at_most is None or figure <= at_most)


def _words(at_least: float | None, at_most: float | None) -> str:
    bounds = [f"{word} {bound}" for word, bound in (("at least", at_least), ("at most", at_most)) if bound is not None]
    return "expected " + " and ".join(bounds)
