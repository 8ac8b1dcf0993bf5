"""Recommenders on 28 days they never saw: ours by `backtest`, beside ALS as `implicit` itself recommends.

Complete Journey, one household one customer, cut at 2017-12-04.
"""

from dataclasses import asdict
from datetime import date, timedelta
from typing import Any

import complete_journey
import numpy as np
import polars as pl
from implicit.cpu.als import AlternatingLeastSquares
from measuring import measured, median_seconds, ratio, report, report_skipped
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import threadpool_limits

from cer_assets.recommend import Als, AlsSettings, Interactions, backtest, interactions
from cer_assets.recommend.evaluate import Targets, measure, targets
from cer_assets.value.past import buckets_as_of

CUT = date(2017, 12, 4)
DAYS = 28
K = 10
SETTINGS = AlsSettings()

Lists = NDArray[np.int32]
"""Columns of the products recommended (customers x K), best first."""
Seconds = dict[str, float]


def main() -> None:
    """Measure and print."""
    if not complete_journey.is_installed():
        report_skipped("recommend", complete_journey.ABSENT)
        return
    lines = complete_journey.order_lines()
    # implicit asks for it: its own threads and those of BLAS get in each other's way.
    with threadpool_limits(1, user_api="blas"):
        report("recommend", ["implicit", "numpy", "polars", complete_journey.PACKAGE], figures(lines))


def figures(lines: pl.DataFrame) -> dict[str, Any]:
    """Time of one ALS on both sides, then quality of every model."""
    history = interactions(lines, CUT)
    wanted = targets(lines, history, CUT, DAYS, K)
    bought = history.decayed(CUT, SETTINGS.half_life_days)[:-1]
    ours = seconds_of_ours(history)
    same = fitted(solver_with_our_settings(), bought)
    theirs = seconds_of_implicit(same, bought)
    counts = history.counts()[:-1]
    default = fitted(AlternatingLeastSquares(random_state=SETTINGS.seed), counts)
    judged, whole = measured(lambda: backtest(lines, buckets(lines), CUT, DAYS, k=K))
    quality = quality_of_ours(judged) | {
        "implicit, our settings": quality_of(lists_by_implicit(same, bought), wanted),
        "implicit, its defaults on counts": quality_of(lists_by_implicit(default, counts), wanted),
    }
    return {
        "data": {
            "customers": len(history.customers),
            "products": len(history.products),
            "day_baskets": len(history.rows),
            "customers_judged": {protocol: len(target.rows) for protocol, target in wanted.items()},
        },
        "als": {
            "ours, seconds": ours,
            "implicit, seconds": theirs,
            "ratios, ours over implicit": {
                "fit": ratio(ours["fit"], theirs["fit"]),
                "top 10": ratio(ours["top 10"], theirs["top 10"]),
                "top 10, both solving customers anew": ratio(ours["top 10"], theirs["top 10, customers solved anew"]),
            },
        },
        "backtest": asdict(whole),
        "quality": quality,
        "ratios, model over implicit with our settings": ratios(quality, quality["implicit, our settings"]),
    }


def seconds_of_ours(history: Interactions) -> Seconds:
    """Time of `Als` to fit, and to make a table of lists for every customer, whose factors it solves for on the way."""
    model = Als(SETTINGS)
    return {
        "fit": median_seconds(lambda: model.fit(history, pl.DataFrame(), CUT), 2),
        "top 10": median_seconds(lambda: model.recommend(history.customers, K), 3),
    }


def solver_with_our_settings() -> AlternatingLeastSquares:
    """An ALS of `implicit` set as ours is, not yet fitted."""
    return AlternatingLeastSquares(
        factors=SETTINGS.factors,
        regularization=SETTINGS.regularization,
        alpha=SETTINGS.alpha,
        iterations=SETTINGS.iterations,
        random_state=SETTINGS.seed,
    )


def fitted(solver: AlternatingLeastSquares, bought: sparse.csr_matrix) -> AlternatingLeastSquares:
    """The solver once fitted. One fitted before would go on from where it ended, so each is fitted once."""
    solver.fit(bought, show_progress=False)
    return solver


def seconds_of_implicit(solver: AlternatingLeastSquares, bought: sparse.csr_matrix) -> Seconds:
    """Time of `implicit` to fit anew, and of a fitted solver's lists as arrays: from its factors, and solving them."""
    customers = np.arange(bought.shape[0])

    def top(anew: bool) -> None:
        solver.recommend(customers, bought, N=K, filter_already_liked_items=False, recalculate_user=anew)

    return {
        "fit": median_seconds(lambda: fitted(solver_with_our_settings(), bought), 2),
        "top 10": median_seconds(lambda: top(anew=False), 3),
        "top 10, customers solved anew": median_seconds(lambda: top(anew=True), 3),
    }


def lists_by_implicit(solver: AlternatingLeastSquares, bought: sparse.csr_matrix) -> dict[str, Lists]:
    """Its lists per protocol; what was bought before is left out of those of C alone."""
    customers = np.arange(bought.shape[0])
    anything, new = (
        solver.recommend(customers, bought, N=K, filter_already_liked_items=only_new)[0] for only_new in (False, True)
    )
    return {"A": anything, "B": anything, "C": new}


def buckets(lines: pl.DataFrame) -> pl.DataFrame:
    """Value buckets as they were known on the eve of the cut."""
    with complete_journey.connect(lines) as con:
        return buckets_as_of(con.sql("from value.purchases").pl(), CUT - timedelta(days=1))


def quality_of(lists: dict[str, Lists], wanted: dict[str, Targets]) -> dict[str, dict[str, float]]:
    """Recall and NDCG of lists per protocol, by the project's own metrics."""
    means = {p: measure(lists[p][target.rows], target).mean(axis=0).tolist() for p, target in wanted.items()}
    return {p: {"recall@10": round(recall, 4), "ndcg@10": round(ndcg, 4)} for p, (ndcg, recall, _) in means.items()}


def quality_of_ours(judged: pl.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """The same from `backtest`, over all customers: model -> protocol -> metric."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    shown = judged.filter(pl.col("bucket") == "all", pl.col("metric").is_in([f"recall@{K}", f"ndcg@{K}"]))
    for row in shown.sort("model", "protocol", pl.col("metric"), descending=[False, False, True]).to_dicts():
        of_model = table.setdefault(row["model"], {})
        of_model.setdefault(row["protocol"], {})[row["metric"]] = round(row["value"], 4)
    return table


def ratios(
    quality: dict[str, dict[str, dict[str, float]]], peer: dict[str, dict[str, float]]
) -> dict[str, dict[str, float | None]]:
    """NDCG of each model over the peer's, per protocol."""
    metric = f"ndcg@{K}"
    return {
        model: {f"{protocol} {metric}": ratio(of[metric], peer[protocol][metric]) for protocol, of in table.items()}
        for model, table in quality.items()
    }


if __name__ == "__main__":
    main()
