"""Each customer's last basket, from all their baskets before it: ours beside what was published for four others.

Complete Journey, leave-last-basket-out, with the filters of Romanov et al. (RecSys 2023, "Time-aware item weighting for
the next basket recommendations"). Their figures are those of the two-year file, ours of the one year that the package
holds: the same shop, the same filters, not the same baskets.
"""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any

import complete_journey
import numpy as np
import polars as pl
from measuring import measured, report, report_skipped

from cer_assets.recommend.evaluate import METRICS, Targets, judge, mean_interval, paired, targets
from cer_assets.recommend.families import all_families
from cer_assets.recommend.families.tifu import TifuKnn, TifuSettings
from cer_assets.recommend.hybrid import Examples, Hybrid, Ranker, RankerSettings
from cer_assets.recommend.hybrid.ranker import examples_of
from cer_assets.recommend.interactions import Interactions, interactions
from cer_assets.recommend.model import Recommender

PUBLISHED = {"UP-CF": 0.1663, "TIFU-KNN": 0.1653, "SLRC": 0.1727, "TAIW": 0.1791}
"""Recall@10 of the paper's table."""
LITERATURE = TifuSettings(groups=7, group_decay=0.9, own_weight=0.7)
"""TIFU-KNN as it is usually set, beside which ours stands."""
FEWEST_BASKETS = 5
"""Baskets of a customer."""
FEWEST_LINES = 10
"""Lines of a product, in the whole file."""
AS_OF = date(2018, 1, 1)
"""The day every customer's basket to foretell is moved to."""
LEARNED_FROM = 2
"""Baskets before the last that the ranker learns from."""
K = 10
RESAMPLES = 1000
RANKED = ("decayed_frequency", "hazard", "popularity", "tifu_knn", "trending", "users")
"""Families whose candidates are ranked: those of repeat purchase, and light ones for the rest."""


def main() -> None:
    """Measure and print."""
    if not complete_journey.is_installed():
        report_skipped("next basket", complete_journey.ABSENT)
        return
    report(
        "next basket",
        ["implicit", "numpy", "polars", "scikit-learn", complete_journey.PACKAGE],
        figures(numbered(complete_journey.order_lines()), complete_journey.catalogue()),
    )


def figures(baskets: pl.DataFrame, catalogue: pl.DataFrame) -> dict[str, Any]:
    """Recall and NDCG at 10 of TIFU-KNN as it is usually set, of some families, and of the ranking over them."""
    clocks = {clock: Task(baskets, 0, clock) for clock in ("baskets", "since the last", "date known")}
    by_baskets = clocks["baskets"].fitted({"tifu_knn": TifuKnn(LITERATURE)}, catalogue)
    own = recalls(by_baskets, clocks["baskets"].wanted)
    table: dict[str, Any] = {"TIFU-KNN as it is usually set, time in baskets": shown(own["tifu_knn"])}
    costs: dict[str, Any] = {}
    for clock in ("since the last", "date known"):
        judged, cost = measured(lambda clock=clock: ranked(baskets, clocks[clock], clock, catalogue))
        costs[clock] = asdict(cost)
        table[clock] = {name: shown(values) for name, values in sorted(judged.items())}
        # Customers lie in one order whatever the clock.
        lead = paired(judged["hybrid"][:, 0], own["tifu_knn"][:, 0], RESAMPLES)
        table[clock]["hybrid less TIFU-KNN as it is usually set, recall@10"] = [round(figure, 4) for figure in lead]
    history = clocks["baskets"].history
    return {
        "data": {
            "file": "one year (2017); the published figures are of the two-year file",
            "customers": len(history.customers),
            "products": len(history.products),
            "customers_judged": len(clocks["baskets"].wanted["A"].rows),
        },
        "published recall@10, two-year file": PUBLISHED,
        "recall@10 and ndcg@10 with intervals, by what is known of the time of the last basket": table,
        "costs, the ranker's learning included": costs,
    }


class Task:
    """The baskets before one that is to be foretold, on a clock that puts that one on AS_OF."""

    def __init__(self, baskets: pl.DataFrame, number: int, clock: str):
        """Number 0 is the last basket, 1 the one before it; see `on_clock` for the clocks."""
        lines = on_clock(baskets.filter(pl.col("number") >= number), number, clock)
        self.history: Interactions = interactions(lines, AS_OF, products=baskets["product_id"])
        self.wanted: Mapping[str, Targets] = targets(lines, self.history, AS_OF, 1, K)

    def fitted(self, families: Mapping[str, Recommender], catalogue: pl.DataFrame) -> dict[str, Recommender]:
        """Families fitted on the baskets before."""
        return {name: model.fit(self.history, catalogue, AS_OF) for name, model in families.items()}


def ranked(baskets: pl.DataFrame, last: Task, clock: str, catalogue: pl.DataFrame) -> dict[str, np.ndarray]:
    """Recall and NDCG of each family and of the ranking over them, which learned from the baskets before the last."""
    settings = RankerSettings()
    learned: list[Examples] = []
    for number in range(1, LEARNED_FROM + 1):
        task = Task(baskets, number, clock)
        families = task.fitted(competing(), catalogue)
        found = examples_of(families, task.history, catalogue, AS_OF, task.wanted, settings)
        learned.extend([] if found is None else [found])
    families = last.fitted(competing(), catalogue)
    hybrid = Hybrid(Ranker.learn(learned[::-1], settings)).over(families, last.history, catalogue, AS_OF)
    return recalls({**families, "hybrid": hybrid}, last.wanted)


def competing() -> dict[str, Recommender]:
    """The families that are ranked, unfitted."""
    return {name: model for name, model in all_families().items() if name in RANKED}


def numbered(order_lines: pl.DataFrame) -> pl.DataFrame:
    """The paper's customers and products, each basket with its number counted back from its customer's last (0).

    Every line counts, fuel and coupons too; a basket is what a customer bought at one moment. Left out are products of
    fewer than ten lines, customers of fewer than five baskets or of one day, and those who buy more lines a day than
    two standard deviations above the mean.
    """
    lines = order_lines.filter(pl.col("customer_id").is_not_null())
    regular = pl.col("ordered_at").n_unique().over("customer_id") >= FEWEST_BASKETS
    lines = lines.filter(regular & (pl.len().over("product_id") >= FEWEST_LINES))
    days = ((pl.col("ordered_at").max() - pl.col("ordered_at").min()) / timedelta(days=1)).ceil().clip(1)
    pace = lines.group_by("customer_id").agg(a_day=pl.len() / days, days=pl.col("ordered_on").n_unique())
    mean, spread = pace.select(pl.col("a_day").mean().alias("mean"), pl.col("a_day").std(ddof=0).alias("sd")).row(0)
    kept = pace.filter(pl.col("days") > 1, pl.col("a_day") < mean + 2 * spread)
    return lines.join(kept.select("customer_id"), on="customer_id", how="semi").with_columns(
        number=pl.col("ordered_at").rank("dense", descending=True).over("customer_id").cast(pl.Int64) - 1
    )


def on_clock(baskets: pl.DataFrame, number: int, clock: str) -> pl.DataFrame:
    """The same lines as goods bought on moved days: basket `number` on AS_OF, those before it on days before.

    `baskets`: a day for every basket. `date known`: as many days before as in truth, at least one. `since the last`:
    the same, with the last basket before it on the eve, as where nobody knows when the customer comes again.
    """
    own = pl.col("number") == number
    wanted_on = pl.col("ordered_on").filter(own).max().over("customer_id")
    last_on = pl.col("ordered_on").filter(~own).max().over("customer_id")
    before = {
        "baskets": pl.col("number") - number,
        "date known": pl.max_horizontal((wanted_on - pl.col("ordered_on")).dt.total_days(), 1),
        "since the last": (last_on - pl.col("ordered_on")).dt.total_days() + 1,
    }[clock]
    return baskets.with_columns(
        ordered_on=pl.lit(AS_OF).dt.offset_by("-" + pl.when(own).then(0).otherwise(before).cast(pl.String) + "d"),
        quantity=pl.max_horizontal(pl.col("quantity"), 1),
        amount=pl.max_horizontal(pl.col("amount").cast(pl.Float64), 0.01),
        merchandise=True,
    )


def recalls(models: Mapping[str, Recommender], wanted: Mapping[str, Targets]) -> dict[str, np.ndarray]:
    """Recall@10 and NDCG@10 of each customer's list (customers x 2), by model."""
    # The whole basket is the ideal list, as in the literature: protocol B; the lists of C are of no use here.
    judged = judge(models, {"A": wanted["A"], "B": wanted["B"]}, AS_OF, K)
    metrics = ("recall", "ndcg")
    return {name: np.column_stack([judged.values[name]["B"][:, METRICS.index(m)] for m in metrics]) for name in models}


def shown(values: np.ndarray) -> dict[str, list[float]]:
    """Mean, low and high of each column."""
    intervals = np.column_stack(mean_interval(values, RESAMPLES)).round(4).tolist()
    return dict(zip((f"recall@{K}", f"ndcg@{K}"), intervals, strict=True))


if __name__ == "__main__":
    main()
