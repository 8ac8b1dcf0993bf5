"""A published table reproduced, and every family beside it: Epinions, fold 2 of "Everyone's a Winner!" (RecSys 2023).

Who trusts which product is all there is: no time, no catalogue. Every model is fitted and judged as those of the shop
are, on what a customer never chose before. The families have their own settings, which a shop's purchases chose; those
of EASE are also tuned on a fifth of the training file.
"""

from datetime import date, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from implicit.cpu.als import AlternatingLeastSquares
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, ItemItemRecommender
from measuring import data_file, measured, ratio, report, report_skipped
from scipy import sparse
from threadpoolctl import threadpool_limits

from cer_assets.recommend.evaluate import Targets, describe, lists, measure, targets
from cer_assets.recommend.families import all_families
from cer_assets.recommend.families.ease import Ease, EaseSettings
from cer_assets.recommend.interactions import Interactions, interactions
from cer_assets.recommend.model import Indices, Recommender

FILES = "recommend/epinions_2_train.tsv", "recommend/epinions_2_test.tsv"
CUT = date(2024, 1, 2)
"""The training file is the day before, the test file this day."""
K = 10
PUBLISHED = {"recall@10": 0.1560, "precision@10": 0.1039, "ndcg@10": 0.1643}
"""EASE with a regularisation of 174.18."""

TUNED = {"dropout": (0.0, 0.5, 0.75), "length_power": (0.5,)}
"""What is tried of EASE beside what was published, on a fifth of the training file."""

Quality = dict[str, float]


def main() -> None:
    """Measure and print."""
    files = [data_file(name) for name in FILES]
    if None in files:
        report_skipped("epinions", f"{' and '.join(FILES)} are not in the data folder")
        return
    train, test = (choices(file, CUT + timedelta(days=day)) for file, day in zip(files, (-1, 0), strict=True) if file)
    with threadpool_limits(1, user_api="blas"):
        report("epinions", ["implicit", "numpy", "polars", "scipy"], figures(train, test))


def choices(file: Path, day: date) -> pl.DataFrame:
    """One day-basket of one product for each line of a file."""
    columns = ["customer_id", "product_id", "chosen", "source"]
    return pl.read_csv(file, separator="\t", has_header=False, new_columns=columns).select(
        pl.col("customer_id", "product_id").cast(pl.String),
        quantity=pl.lit(1.0),
        amount=pl.lit(1.0),
        ordered_on=pl.lit(day),
        merchandise=pl.lit(value=True),
    )


def figures(train: pl.DataFrame, test: pl.DataFrame) -> dict[str, Any]:
    """The published figures beside ours, then every family, then the peer."""
    history, wanted = split(train, test)
    chosen = history.counts()[:-1]
    tried = tuned(train)
    contenders: dict[str, Recommender] = {
        "ease, as published": ease(history, regularization=174.18),
        "ease, tuned": ease(history, **max(tried, key=lambda one: one["ndcg@10"])["settings"]),
        **all_families(),
    }
    ours = {name: quality_of_ours(model, history, wanted) for name, model in contenders.items()}
    peers = {name: quality_of_implicit(peer, chosen, history, wanted) for name, peer in implicit().items()}
    best = max(ours, key=lambda name: ours[name]["ndcg@10"])
    return {
        "data": {
            "customers": len(history.customers),
            "products": len(np.unique(history.columns)),
            "choices": int(chosen.nnz),
            "customers judged": len(wanted.rows),
        },
        "published": PUBLISHED,
        "equal to what is published": {
            metric: ours["ease, as published"][metric] == value for metric, value in PUBLISHED.items()
        },
        "ours": ours,
        "implicit": peers,
        "tried on a fifth of the training file": tried,
        "best of ours": best,
        "ratios of ndcg@10, best of ours over": {
            "published": ratio(ours[best]["ndcg@10"], PUBLISHED["ndcg@10"]),
            **{name: ratio(ours[best]["ndcg@10"], peer["ndcg@10"]) for name, peer in peers.items()},
        },
    }


def split(train: pl.DataFrame, test: pl.DataFrame) -> tuple[Interactions, Targets]:
    """What is learned from, and what lists should hold.

    What is only in the test file is known by nobody and cannot be recommended; it counts as missed.
    """
    everything = pl.concat([train, test])
    history = interactions(train, CUT, products=everything["product_id"].unique())
    return history, targets(everything, history, CUT, 1, K)["C"]


def ease(history: Interactions, **settings: float) -> Ease:
    """EASE of everything that was chosen at all."""
    products = len(np.unique(history.columns))
    return Ease(EaseSettings.model_validate({"logarithm": False, "max_products": products, **settings}))


def tuned(train: pl.DataFrame) -> list[dict[str, Any]]:
    """Settings of EASE and how good they are on a fifth of the choices, the other four learned from."""
    shuffled = train.sort("customer_id", "product_id").sample(fraction=1, shuffle=True, seed=0)
    aside = shuffled.head(len(shuffled) // 5).with_columns(ordered_on=pl.lit(CUT))
    history, wanted = split(shuffled.tail(len(shuffled) - len(aside)), aside)
    settings = [dict(zip(TUNED, values, strict=True)) for values in product(*TUNED.values())]
    return [{"settings": one, **quality_of_ours(ease(history, **one), history, wanted)} for one in settings]


def quality_of_ours(model: Recommender, history: Interactions, wanted: Targets) -> Quality:
    """Fit a model, and judge its lists of what a customer never chose."""
    _, cost = measured(lambda: model.fit(history, pl.DataFrame(), CUT))
    return judged(lists(model, wanted.rows, K)["C"], history, wanted) | {"fit, cpu seconds": cost.cpu_seconds}


def implicit() -> dict[str, AlternatingLeastSquares | ItemItemRecommender]:
    """The peer's own models, under its settings; ALS also with those that serve sparse choices better."""
    return {
        "cosine": CosineRecommender(K=200),
        "bm25": BM25Recommender(K=200),
        "bm25, its defaults": BM25Recommender(),
        "als, its defaults": AlternatingLeastSquares(random_state=0),
        "als, 128 factors, regularisation 10, alpha 10": AlternatingLeastSquares(
            factors=128, regularization=10.0, alpha=10.0, random_state=0
        ),
    }


def quality_of_implicit(
    peer: AlternatingLeastSquares | ItemItemRecommender,
    chosen: sparse.csr_matrix,
    history: Interactions,
    wanted: Targets,
) -> Quality:
    """The same of a peer's lists, by its own `recommend`."""
    _, cost = measured(lambda: peer.fit(chosen, show_progress=False))
    ranked, _ = peer.recommend(wanted.rows, chosen[wanted.rows], N=K, filter_already_liked_items=True)
    return judged(ranked.astype(np.int32), history, wanted) | {"fit, cpu seconds": cost.cpu_seconds}


def judged(ranked: Indices, history: Interactions, wanted: Targets) -> Quality:
    """Recall, precision and NDCG of lists, means over customers."""
    ndcg, recall, _ = measure(ranked, wanted).mean(axis=0)
    precision = describe(ranked, wanted, history, K)[:, 0].mean()
    return {name: round(float(v), 4) for name, v in zip(PUBLISHED, (recall, precision, ndcg), strict=True)}


if __name__ == "__main__":
    main()
