"""What a list of some days ago is worth beside one of today, to customers who did not buy in between.

Of very many customers, who did not move keeps a list for `CrowdSettings.carried_days`. Complete Journey, one household
one customer: lists as of several days, and those of 1 to 28 days before, judged on the same 28 days that follow. The
trees learned before any of these days.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from functools import cache
from typing import Any

import complete_journey
import numpy as np
import polars as pl
from measuring import report, report_skipped
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from cer_assets.recommend import Hybrid, Sources, learn_rhythm, rank
from cer_assets.recommend.evaluate import METRICS, judge_lists, mean_interval, paired, targets
from cer_assets.recommend.hybrid import learn
from cer_assets.recommend.interactions import Interactions, days_since_epoch

CUTS = tuple(date(2017, 9, 11) + timedelta(days=28) * number for number in range(4))
AGES = (1, 3, 7, 14, 28)
DAYS = 28
K = 10
RESAMPLES = 1000


def main() -> None:
    """Measure and print."""
    if not complete_journey.is_installed():
        report_skipped("carried", complete_journey.ABSENT)
        return
    with threadpool_limits(1, user_api="blas"):
        report("carried", ["numpy", "polars", "scikit-learn", complete_journey.PACKAGE], compared())


def compared() -> dict[str, Any]:
    """By age of a list, what it is worth to who did not buy since, what one of today is, and the difference."""
    lines, products = complete_journey.order_lines(), complete_journey.catalogue()
    sources = Sources(lines, products=products)
    ranker = learn(sources.before, lines, products, CUTS[0] - timedelta(days=max(AGES)))

    @cache
    def lists(cut: date) -> pl.DataFrame:
        history = sources.before(cut)
        rhythm = learn_rhythm(sources.before(cut, 1), products, cut)
        model = Hybrid(ranker).fit(history, products, cut)
        eve = cut - timedelta(days=1)
        return rank(model, history.customers, products, eve, rhythm=rhythm, k=K, reasons=False, strangers=False)

    found: dict[str, list[pl.DataFrame]] = {str(age): [] for age in AGES}
    for cut in CUTS:
        history = sources.before(cut)
        everyone = targets(lines, history, cut, DAYS, K)
        for age in AGES:
            then = cut - timedelta(days=age)
            kept = not_seen_since(history, then)
            wanted = {name: everyone[name].of(kept) for name in "AB"}
            ranked = {
                name: dict.fromkeys("AB", columns(of, history, wanted["A"].rows))
                for name, of in {"fresh": lists(cut), "kept": lists(then)}.items()
            }
            judged = judge_lists(ranked, wanted, history, cut, K)
            found[str(age)] += [judged.per_customer(protocol=name).with_columns(protocol=pl.lit(name)) for name in "AB"]
    return {age: told(pl.concat(parts)) for age, parts in found.items()}


def not_seen_since(history: Interactions, day: date) -> NDArray[np.int32]:
    """Rows of the customers who bought, but not from a day on."""
    newest = np.full(history.shape[0], -1)
    np.maximum.at(newest, history.rows, history.days)
    return np.flatnonzero((newest >= 0) & (newest < days_since_epoch(day))).astype(np.int32)


def columns(lists: pl.DataFrame, history: Interactions, rows: NDArray[np.int32]) -> NDArray[np.int32]:
    """Columns of the products on the list of each row (rows x K), -1 where it ends early."""
    row = history.row_of(lists["customer_id"])
    place = np.full(history.shape[0] + 1, -1)
    place[rows] = np.arange(len(rows))
    mine = (row >= 0) & (place[row] >= 0)
    result = np.full((len(rows), K), -1, np.int32)
    result[place[row[mine]], lists["rank"].to_numpy()[mine] - 1] = history.column_of(lists["product_id"])[mine]
    return result


def told(values: pl.DataFrame) -> dict[str, Any]:
    """NDCG of both lists and their paired difference, with intervals over customers."""
    result: dict[str, Any] = {}
    for name in "AB":
        some = values.filter(pl.col("protocol") == name, pl.col("fresh").is_not_null(), pl.col("kept").is_not_null())
        customers = some["customer_id"].rank("dense").to_numpy().astype(np.int64) - 1
        fresh, kept = (some[which].to_numpy() for which in ("fresh", "kept"))
        interval = mean_interval(np.column_stack([fresh, kept]), RESAMPLES, customers=customers)
        result[f"{name} {METRICS[0]}@{K}"] = {
            "lists": len(some),
            "customers": int(some["customer_id"].n_unique()),
            "fresh": rounded([part[0] for part in interval]),
            "kept": rounded([part[1] for part in interval]),
            "kept less fresh": rounded(paired(kept, fresh, RESAMPLES, customers=customers)),
        }
    return result


def rounded(values: Sequence[float]) -> list[float]:
    """Four digits."""
    return [round(float(value), 4) for value in values]


if __name__ == "__main__":
    main()
