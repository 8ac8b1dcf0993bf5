"""Recommending for ten thousand, a hundred thousand and a million customers: time and memory of each step, and growth.

Customers of a generated shop buy 50 lines a year, most of them from a repertoire of their own. What teaches is bounded
(`CrowdSettings`), so that the challenge and the fit should cost the same at any size; purchases and lists grow with the
customers. The day after, lists of who did not move are carried on. A size is measured in a process of its own, so that
its peak is its own.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import date, timedelta
from math import log
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import numpy as np
import polars as pl
from measuring import alone, measured, print_json, report

from cer_assets.recommend import (
    BacktestSettings,
    CrowdSettings,
    Hybrid,
    Sources,
    challenge,
    everyone,
    learn_rhythm,
    rank_everyone,
    teachers,
)
from cer_assets.recommend.crowd import Lists

T = TypeVar("T")
CUT = date(2017, 12, 31)
DAYS = 364
LINES, LINES_A_BASKET = 50, 5
"""Of a customer in a year; of a basket."""
REPERTOIRE, FROM_REPERTOIRE = 16, 0.6
"""Products a customer keeps buying, and the share of the lines that are of them."""
STEEPNESS = 0.9
"""A product's share of the purchases falls with its rank to this power (Zipf)."""
CHUNK = 100_000
"""Customers generated at once."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--products", type=int, default=20_000)
    parser.add_argument("--by-all", type=int, default=CrowdSettings().ranked_by_all, help="customers ranked by trees")
    parser.add_argument("--no-challenge", action="store_true", help="lists by the families weighed, without trees")
    parser.add_argument("--only", action="store_true", help="one size, in this process")
    size = parser.parse_args()
    if size.only:
        print_json(of_size(size.customers[0], size.products, size.by_all, trees=not size.no_challenge))
        return
    more = [f"--products={size.products}", f"--by-all={size.by_all}", *["--no-challenge"] * size.no_challenge]
    figures = {str(n): alone(__file__, "--only", f"--customers={n}", *more) for n in size.customers}
    report("recommend growth", ["duckdb", "numpy", "polars", "scipy"], {**figures, "growth": growth(figures)})


def growth(figures: dict[str, Any]) -> dict[str, float]:
    """Exponent of each step's work between the first size and the last: 1 grows in step with the customers."""
    first, *_, last = [*figures, *figures]
    if first == last:
        return {}
    times = log(int(last) / int(first))
    steps = {name for name in figures[first]["steps"] if name in figures[last]["steps"]}
    work = {n: [max(figures[size]["steps"][n]["cpu_seconds"], 0.01) for size in (first, last)] for n in sorted(steps)}
    return {name: round(log(after / before) / times, 2) for name, (before, after) in work.items()}


def of_size(customers: int, products: int, by_all: int, *, trees: bool) -> dict[str, Any]:
    """Every step on a shop of one size."""
    steps: dict[str, Any] = {}

    def step(name: str, work: Callable[[], T]) -> T:
        result, cost = measured(work)
        steps[name] = asdict(cost)
        return result

    settings = CrowdSettings(ranked_by_all=by_all)
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as con:
        made = time.perf_counter()
        files = generated(Path(folder), customers, products)
        made = time.perf_counter() - made
        con.execute("set memory_limit = '4GB'")
        con.execute("create schema customer")
        con.execute(f"create view customer.order_lines as from read_parquet('{files}')")
        con.execute(
            "create table customer.events as select ''::varchar as customer_id, ''::varchar as product_id,"
            " ''::varchar as kind, timestamp '2017-01-01' as occurred_at where false"
        )
        lines = step("who teaches", lambda: lessons(con, settings))
        catalogue = shelves(products)
        sources = Sources(order_lines=lines, products=catalogue)
        learned = step("challenge", lambda: taught(sources)) if trees else None
        history = step("history", lambda: sources.before(CUT))
        model = step("fit", lambda: Hybrid(learned).fit(history, catalogue, CUT))
        rhythm = step("rhythm", lambda: learn_rhythm(sources.before(CUT, 1), catalogue, CUT))
        crowd = step("purchases of everyone", lambda: everyone(con, CUT))
        eve, asked = CUT - timedelta(days=1), crowd.customers

        def lists(some: pl.Series, of: CrowdSettings = settings, before: pl.DataFrame | None = None) -> Lists:
            return rank_everyone(model, crowd, some, catalogue, eve, rhythm, settings=of, before=before)

        whole = step("lists", lambda: lists(asked))
        yesterday = whole.rows.with_columns(as_of=pl.col("as_of") - pl.duration(days=1))
        daily = step("lists of the day after", lambda: lists(asked, before=yesterday))
        some = asked.sample(min(2_000, len(asked)), seed=0)
        step("lists of 2,000 by all families", lambda: lists(some, CrowdSettings(ranked_by_all=len(asked))))
        step("lists of 2,000 by one", lambda: lists(some, CrowdSettings(ranked_by_all=0)))
    return {
        "customers": len(asked),
        "day-baskets": len(crowd.rows),
        "candidates": len(history.products),
        "teachers": len(history.customers),
        "rows of lists": whole.rows.height,
        "lists": {"by the champion": whole.by_model, "by one family": whole.by_plain},
        "the day after": {"by the champion": daily.by_model, "by one family": daily.by_plain, "carried": daily.carried},
        "made in seconds": round(made, 1),
        "peak_mb": max(cost["peak_mb"] for cost in steps.values()),
        "steps": steps,
    }


def lessons(con: duckdb.DuckDBPyConnection, settings: CrowdSettings) -> pl.DataFrame:
    """Order lines of the customers who teach, of everyone where that is not too many."""
    counted = con.sql("select customer_id, count(*) as lines from customer.order_lines group by all order by all").pl()
    some = teachers(counted, settings)
    con.from_arrow((counted["customer_id"] if some is None else some).to_frame().to_arrow()).create("taught")
    return con.sql("select l.* from customer.order_lines as l semi join taught using (customer_id)").pl()


def taught(sources: Sources) -> Any:
    """The trees a challenge learned, whoever won."""
    challenger = challenge(sources, CUT, BacktestSettings(training_windows=2)).challenger
    return None if challenger is None else challenger.learned


def shelves(products: int) -> pl.DataFrame:
    """A catalogue: 20 categories, ten types each."""
    number = pl.int_range(products, eager=True)
    return pl.DataFrame(
        {
            "product_id": number.cast(pl.String).str.zfill(6),
            "title": "Product " + number.cast(pl.String),
            "category": "Category " + (number % 20).cast(pl.String),
            "type": "Type " + (number % 200).cast(pl.String),
        }
    )


def generated(folder: Path, customers: int, products: int) -> str:
    """Order lines of a year in files; what they are called."""
    weight = np.cumsum(np.arange(1, products + 1, dtype=np.float64) ** -STEEPNESS)
    for start in range(0, customers, CHUNK):
        rng = np.random.default_rng([0, start])
        number = min(CHUNK, customers - start)

        def drawn(size: int | tuple[int, int], rng: np.random.Generator = rng) -> Any:
            return np.minimum(np.searchsorted(weight, rng.random(size) * weight[-1]), products - 1)

        repertoire = drawn((number, REPERTOIRE))
        baskets = rng.poisson(LINES / LINES_A_BASKET * rng.lognormal(-0.125, 0.5, number))
        owner = np.repeat(np.arange(number), baskets)
        row = np.repeat(owner, LINES_A_BASKET)
        day = np.repeat(rng.integers(0, DAYS, len(owner)), LINES_A_BASKET)
        own = rng.random(len(row)) < FROM_REPERTOIRE
        product = np.where(own, repertoire[row, rng.integers(0, REPERTOIRE, len(row))], drawn(len(row)))
        basket = np.repeat(np.arange(len(owner)), LINES_A_BASKET)
        pl.DataFrame({"row": row + start, "product": product, "day": day, "basket": basket}).select(
            basket_id=pl.format("{}-{}", pl.lit(start), "basket"),
            line=pl.int_range(pl.len()),
            customer_id=pl.col("row").cast(pl.String).str.zfill(8),
            product_id=pl.col("product").cast(pl.String).str.zfill(6),
            quantity=pl.lit(1),
            amount=pl.lit(2.5).cast(pl.Decimal(18, 2)),
            discount=pl.lit(0).cast(pl.Decimal(18, 2)),
            ordered_on=pl.lit(CUT - timedelta(days=DAYS)) + pl.duration(days="day"),
            ordered_at=(pl.lit(CUT - timedelta(days=DAYS)) + pl.duration(days="day")).cast(pl.Datetime("us")),
            merchandise=pl.lit(value=True),
        ).write_parquet(folder / f"{start:09}.parquet")
    return str(folder / "*.parquet")


if __name__ == "__main__":
    main()
