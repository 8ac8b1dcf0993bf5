"""Lists for everyone from the same factors, without what was bought: ours beside `implicit`'s own `recommend`.

And a large generated shop from purchases to lists in a file, in time and memory.

`--customers 200000 --products 20000 --purchases 20000000` is the large one; as it stands a small one is made.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import complete_journey
import numpy as np
import polars as pl
from implicit.cpu.als import AlternatingLeastSquares
from measuring import alone, measured, print_json, ratio, report
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import threadpool_limits

from cer_assets.recommend import Als, AlsSettings, Interactions, interactions
from cer_assets.recommend.interactions import days_since_epoch
from cer_assets.recommend.model import as_frame
from cer_assets.recommend.topk import best_of_rows

CUT = date(2017, 12, 4)
K = 20
THREADS = 2
ROUNDS = 7
"""Times that both sides make all lists, taking turns; the median is told."""
COMPARED = 20_000
"""Customers both sides make lists for, at most."""
TASTES = 50
"""Kinds of customers in the generated shop; each prefers other products."""
SHARE_OF_TASTE = 0.5
"""Of the purchases, those that go by the customer's taste; the others go by what is popular with everyone."""
STEEPNESS = 0.9
"""A product's share of the purchases falls with its rank to this power (Zipf)."""

Lists = tuple[NDArray[np.int32], NDArray[np.float32]]
"""Columns of the products recommended (customers x K), best first, and their scores."""


def main() -> None:
    """Measure and print."""
    size = _size()
    if size.only_generated:
        print_json(generated(size))
        return
    if size.only_journey:
        print_json(journey())
        return
    arguments = [f"--{name}={getattr(size, name)}" for name in ("customers", "products", "purchases")]
    figures = {"generated": alone(__file__, "--only-generated", *arguments)}
    if complete_journey.is_installed():
        figures["complete journey"] = alone(__file__, "--only-journey")
    report("scoring", ["implicit", "numpy", "scipy"], figures)


def journey() -> dict[str, Any]:
    """Both sides on Complete Journey."""
    history = interactions(complete_journey.order_lines(), CUT)
    model = Als().fit(history, pl.DataFrame(), CUT)
    return {"data": _data(history), **side_by_side(model, history.counts())}


def generated(size: argparse.Namespace) -> dict[str, Any]:
    """From purchases to lists in a file, then both sides."""
    history, making = measured(lambda: generated_shop(size.customers, size.products, size.purchases))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "lists.parquet"
        (model, bought, seconds), cost = measured(lambda: lists_to_file(history, file))
        lists = pl.scan_parquet(file).select(pl.len(), pl.col("customer_id").n_unique()).collect().row(0)
    return {
        "data": _data(history),
        "made in seconds": making.seconds,
        "from purchases to lists": {**asdict(cost), "of which": seconds, "rows": lists[0], "customers": lists[1]},
        **side_by_side(model, bought),
    }


def generated_shop(customers: int, products: int, purchases: int, seed: int = 0) -> Interactions:
    """A year of day-baskets: the popularity of products after Zipf, customers of several tastes, some buying more."""
    rng = np.random.default_rng(seed)
    popularity = np.cumsum(np.arange(1, products + 1, dtype=np.float64) ** -STEEPNESS)
    activity = np.cumsum(rng.lognormal(0, 0.7, customers))
    row = np.searchsorted(activity, rng.random(purchases) * activity[-1]).astype(np.int32)
    rank = np.searchsorted(popularity, rng.random(purchases) * popularity[-1]).astype(np.int32)
    # A taste sees the same ranking from another product on.
    shift = (rng.random(purchases) < SHARE_OF_TASTE) * (1 + row % TASTES) * (products // (TASTES + 1))
    column = ((rank + shift) % products).astype(np.int64)
    age = rng.integers(1, 366, purchases)
    # Sorted by customer, product and day, each once: one whole number holds all three.
    cells = np.unique((row.astype(np.int64) * products + column) * 512 + (366 - age))
    del row, rank, shift, column, age
    cell = cells // 512
    ones = np.ones(len(cells), np.float32)
    ids = pl.Series("customer_id", np.arange(customers)).cast(pl.String).str.zfill(9)
    return Interactions(
        customers=ids,
        products=pl.Series("product_id", np.arange(products)).cast(pl.String).str.zfill(9),
        rows=(cell // products).astype(np.int32),
        columns=(cell % products).astype(np.int32),
        days=(days_since_epoch(CUT) - 366 + cells % 512).astype(np.int32),
        hours=np.full(len(cells), -1, np.int8),
        amounts=ones,
        discounts=ones,
        quantities=ones,
        traits=ids.to_frame(),
    )


def lists_to_file(history: Interactions, file: Path) -> tuple[Als, sparse.csr_matrix, dict[str, float]]:
    """Fit ALS, and write everyone's list of what they did not buy yet."""
    began = time.perf_counter()
    model = Als(AlsSettings(threads=THREADS)).fit(history, pl.DataFrame(), CUT)
    fitted = time.perf_counter()
    bought = history.counts()
    rows = np.arange(len(history.customers), dtype=np.int32)
    columns, scores = model.best(rows, K, bought, THREADS)
    ranked = time.perf_counter()
    as_frame(history.customers, columns, scores, history.products).write_parquet(file)
    written = time.perf_counter()
    return model, bought, {"fit": fitted - began, "lists": ranked - fitted, "file": written - ranked}


def side_by_side(model: Als, bought: sparse.csr_matrix) -> dict[str, Any]:
    """Lists from the same factors on the same number of threads: how many are the same, and time.

    Ours twice: `bounded` multiplies out what may come into a list, `blocks` makes all scores, as a blend needs them.
    """
    buyers = np.flatnonzero(np.diff(bought.indptr) > 0)[:COMPARED].astype(np.int32)
    own = bought[buyers]
    solver = AlternatingLeastSquares(factors=model.factors_.shape[1], num_threads=THREADS)
    solver.user_factors, solver.item_factors = model.customer_factors_[buyers], model.factors_

    def bounded() -> Lists:
        return model.best(buyers, K, bought, THREADS)

    def in_blocks() -> Lists:
        return best_of_rows(model.score, buyers, bought.shape[1], K, bought, threads=THREADS)

    def implicit() -> Lists:
        return solver.recommend(np.arange(len(buyers)), own, N=K, filter_already_liked_items=True)

    with threadpool_limits(1, user_api="blas"):  # implicit asks for it
        theirs = implicit()
        same = {name: _same(ours(), theirs) for name, ours in (("bounded", bounded), ("blocks", in_blocks))}
        seconds = _taking_turns({"bounded": bounded, "blocks": in_blocks, "implicit": implicit})
    return {
        "customers compared": len(buyers),
        "lists the same as those of implicit": same,
        "seconds": seconds,
        "times as fast as implicit": {
            name: {kind: ratio(seconds["implicit"][kind], taken) for kind, taken in seconds[name].items()}
            for name in same
        },
    }


def _same(ours: Lists, theirs: Lists) -> dict[str, float]:
    """Shares of lists that are the same to the last product, and of those where each place has the same score.

    Where products share a score, ours are in the order of their columns, and implicit's in the opposite one.
    """
    identical = (ours[0] == theirs[0]).all(axis=1)
    # What implicit leaves out has the lowest number there is for a score.
    bounded = [np.maximum(scores, -1e9) for _, scores in (ours, theirs)]
    equal = np.isclose(*bounded, rtol=1e-5, atol=1e-6).all(axis=1)
    return {"identical": float(identical.mean()), "identical but for ties": float((identical | equal).mean())}


def _taking_turns(sides: Mapping[str, Callable[[], object]]) -> dict[str, dict[str, float]]:
    taken = [{name: _seconds(side) for name, side in sides.items()} for _ in range(ROUNDS)]
    return {
        name: {kind: round(median(turn[name][kind] for turn in taken), 4) for kind in ("wall", "cpu")} for name in sides
    }


def _seconds(work: Callable[[], object]) -> dict[str, float]:
    start, worked = time.perf_counter(), time.process_time()
    work()
    return {"wall": time.perf_counter() - start, "cpu": time.process_time() - worked}


def _data(history: Interactions) -> dict[str, int]:
    return {
        "customers": len(history.customers),
        "products": len(history.products),
        "day_baskets": len(history.rows),
    }


def _size() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--products", type=int, default=5_000)
    parser.add_argument("--purchases", type=int, default=1_000_000)
    parser.add_argument("--only-generated", action="store_true", help="in this process, without Complete Journey")
    parser.add_argument("--only-journey", action="store_true", help="in this process, without a generated shop")
    return parser.parse_args()


if __name__ == "__main__":
    main()
