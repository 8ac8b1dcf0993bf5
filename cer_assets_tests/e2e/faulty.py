"""`make run` in which libraries fall over the records they are handed, and quote what they fell over."""

import sys
from typing import Any

import duckdb
import polars as pl


def main() -> int:
    """Run, with two functions of the identity stage replaced by failing ones, and a check's query by another."""
    from cer_assets.defs import run
    from cer_assets.defs.identity import assets
    from cer_assets.defs.resources import Engine

    usual = Engine.over

    def over(self: Engine, tables: Any = (), **more: Any) -> Any:
        # Of a check that holds nothing back: what stands on the links is to be reached.
        if list(tables) == ["identity.links"]:
            by_duckdb(self.home.read("identity.records"))
        return usual(self, tables, **more)

    assets.households = by_polars
    assets.evaluate_links = evaluated
    setattr(Engine, "over", over)  # noqa: B010  # a type checker would rightly refuse it
    return run.main()


def evaluated(*_: object) -> dict[str, float]:
    """A constant that holds a person."""
    by_duckdb(pl.DataFrame())
    return {}


def by_polars(customers: pl.DataFrame, *_: object) -> pl.DataFrame:
    """Polars lists the values that it cannot convert."""
    planted = customers.filter(pl.col("surname") == "quackenbosch")
    return planted.select(pl.col("surname", "email", "phone").cast(pl.Date, strict=True))


def by_duckdb(customers: pl.DataFrame) -> pl.DataFrame:
    """DuckDB quotes the first value that it cannot convert."""
    con = duckdb.connect()
    if customers.is_empty():
        values = "('Zephyrine Quackenbosch zephyrine.q8@nowhere.example +15558675309')"
        return con.sql(f"select cast(v as date) as v from (values {values}) as t(v)").pl()
    con.register("customers", customers.filter(pl.col("surname") == "quackenbosch"))
    return con.sql("select cast(surname as date) as day from customers").pl()


if __name__ == "__main__":
    sys.exit(main())
