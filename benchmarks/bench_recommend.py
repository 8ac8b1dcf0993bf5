"""Every recommender on 28 days that none of them saw, in one table: quality with intervals, time and memory.

Complete Journey, one household one customer, cut at 2017-12-04. The ranking over all families learns on the windows
before the cut. Beside ours stands ALS as `implicit` itself recommends.
"""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any

import complete_journey
import numpy as np
import polars as pl
from implicit.cpu.als import AlternatingLeastSquares
from measuring import Cost, measured, report, report_skipped
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from cer_assets.recommend.backtest import Sources
from cer_assets.recommend.evaluate import Judged, Targets, figures, judge, mean_interval, measure, targets
from cer_assets.recommend.families import all_families
from cer_assets.recommend.families.als import Als, AlsSettings
from cer_assets.recommend.hybrid import Hybrid, Ranker, RankerSettings, learn
from cer_assets.recommend.interactions import Interactions
from cer_assets.recommend.model import Recommender
from cer_assets.value.past import buckets_as_of

CUT = date(2017, 12, 4)
DAYS = 28
K = 10
RESAMPLES = 1000
SHOWN = (("A", "ndcg"), ("A", "recall"), ("B", "recall"), ("B", "ndcg"), ("C", "ndcg"), ("C", "recall"))
"""Protocol and metric of the table's columns."""
BY_BUCKET = ("als_global", "als_bucket", "hybrid")

Row = dict[str, Any]


def main() -> None:
    """Measure and print."""
    if not complete_journey.is_installed():
        report_skipped("recommend", complete_journey.ABSENT)
        return
    lines = complete_journey.order_lines()
    # implicit asks for it: its own threads and those of BLAS get in each other's way.
    with threadpool_limits(1, user_api="blas"):
        report("recommend", ["implicit", "numpy", "polars", "scikit-learn", complete_journey.PACKAGE], table(lines))


def table(lines: pl.DataFrame) -> dict[str, Any]:
    """A row per recommender; the ranker is learned first, on nothing but what lies before the cut."""
    sources = Sources(lines, traits=Buckets(lines), products=complete_journey.catalogue())
    settings = RankerSettings()
    ranker, learning = measured(lambda: learn(sources.before, lines, sources.products, CUT, settings))
    history = sources.before(CUT)
    wanted = targets(lines, history, CUT, DAYS, K)
    costs: dict[str, dict[str, Cost]] = {}
    fitted: dict[str, Recommender] = {}
    judged: list[Judged] = []

    def stand(name: str, fit: Any) -> None:
        fitted[name], fitting = measured(fit)
        one, listing = measured(lambda: judge({name: fitted[name]}, wanted, CUT, K))
        judged.append(one)
        costs[name] = {"fit": fitting, "three lists for everyone judged": listing}

    for name, model in all_families().items():
        stand(name, lambda model=model: model.fit(history, sources.products, CUT))
    families = dict(fitted)
    for name, learned in {"weighed": None, "hybrid": ranker}.items():
        stand(name, lambda of=learned: over(of, families, history, sources.products))
    everything = judged[0]
    for one in judged[1:]:
        everything = everything.beside(one)
    quality = figures([everything], K, RESAMPLES).filter(pl.col("cut").is_null())
    return {
        "data": {
            "customers": len(history.customers),
            "products": len(history.products),
            "day_baskets": len(history.rows),
            "customers_judged": {protocol: len(target.rows) for protocol, target in wanted.items()},
        },
        "learning the ranker, all families fitted anew for each of its windows": asdict(learning),
        "ranker": None if ranker is None else ranker.card()["learned_on"],
        "quality": {name: row(quality, name) for name in sorted(fitted)} | peers(history, wanted),
        "by bucket": {
            bucket: {name: row(quality, name, bucket) for name in BY_BUCKET}
            for bucket in quality["bucket"].unique().sort().to_list()
        },
        "costs": {name: {what: asdict(cost) for what, cost in of.items()} for name, of in sorted(costs.items())},
    }


def over(
    ranker: Ranker | None, families: Mapping[str, Recommender], history: Interactions, products: pl.DataFrame
) -> Recommender:
    """The ranking over families that are fitted."""
    return Hybrid(ranker).over(families, history, products, CUT)


class Buckets:
    """Value buckets as they were known on the eve of a cut."""

    def __init__(self, lines: pl.DataFrame):
        with complete_journey.connect(lines) as con:
            self._purchases = con.sql("from value.purchases").pl()

    def __call__(self, cut: date) -> pl.DataFrame:
        """customer_id, bucket."""
        return buckets_as_of(self._purchases, cut - timedelta(days=1)).select("customer_id", "bucket")


def row(quality: pl.DataFrame, model: str, bucket: str = "all") -> Row:
    """Value, low and high of each shown metric of a model."""
    own = quality.filter(pl.col("model") == model, pl.col("bucket") == bucket)
    found = {
        (protocol, metric): [round(value, 4), round(low, 4), round(high, 4)]
        for protocol, metric, value, low, high in own.select("protocol", "metric", "value", "low", "high")
        .drop_nulls()
        .iter_rows()
    }
    return {f"{protocol} {metric}@{K}": found.get((protocol, f"{metric}@{K}")) for protocol, metric in SHOWN}


def peers(history: Interactions, wanted: Mapping[str, Targets]) -> dict[str, Row]:
    """ALS of `implicit` by its own lists, with our weights and settings and with its own on counts."""
    settings = AlsSettings()
    # Ours is told in units of the noise of the data, theirs as it is.
    ours_fitted = Als(settings).fit(history, pl.DataFrame(), CUT)
    ours = AlternatingLeastSquares(
        factors=settings.factors,
        regularization=ours_fitted.regularization_,
        alpha=settings.alpha,
        iterations=settings.iterations,
        random_state=settings.seed,
    )
    weighed = {
        "implicit, our settings": (ours, history.decayed(CUT, settings.half_life_days)[:-1]),
        "implicit, its defaults on counts": (
            AlternatingLeastSquares(random_state=settings.seed),
            history.counts()[:-1],
        ),
    }
    found: dict[str, Row] = {}
    for name, (solver, bought) in weighed.items():
        solver.fit(bought, show_progress=False)
        customers = np.arange(bought.shape[0])
        lists: list[NDArray[np.int32]] = [
            solver.recommend(customers, bought, N=K, filter_already_liked_items=only_new)[0]
            for only_new in (False, True)
        ]
        found[name] = row_of({"A": lists[0], "B": lists[0], "C": lists[1]}, wanted)
    return found


def row_of(lists: Mapping[str, NDArray[np.int32]], wanted: Mapping[str, Targets]) -> Row:
    """The shown metrics of lists made elsewhere, by the project's own measure."""
    result: Row = {}
    for protocol, metric in SHOWN:
        target = wanted[protocol]
        values = measure(lists[protocol][target.rows], target)[:, ("ndcg", "recall", "map").index(metric), None]
        result[f"{protocol} {metric}@{K}"] = [round(float(part[0]), 4) for part in mean_interval(values, RESAMPLES)]
    return result


if __name__ == "__main__":
    main()
