"""How good a ranking is on time it never saw: three protocols, four metrics, intervals over customers; no models."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from cer_assets.predict.evaluate import resample_counts
from cer_assets.recommend.interactions import Interactions, day_baskets
from cer_assets.recommend.model import Indices, Recommender, blocks, top_k

EVALUATION = {
    "as_of": pl.Date,
    "model": pl.String,
    "bucket": pl.String,
    "protocol": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
}
"""Columns of `recommend.evaluation`; as_of is the cut. Coverage has no interval: a resample repeats customers, so that
its coverage is lower by construction."""
INTERVAL = ("value", "low", "high")
PROTOCOLS = {
    "A": "everything bought in the window",
    "B": "the first day-basket of the window",
    "C": "everything bought in the window and never before",
}
METRICS = ("ndcg", "recall", "map")


@dataclass(frozen=True)
class Targets:
    """What a list should hold, for the customers who bought at least one candidate."""

    rows: Indices
    """Matrix rows of those customers, sorted."""
    cells: NDArray[np.int64]
    """row * number of products + column of each target, sorted."""
    width: int
    """Number of candidate products."""
    longest_ideal: int | None
    """Length at which the ideal list of NDCG ends; None: it holds every target."""


def targets(order_lines: pl.DataFrame, history: Interactions, cut: date, days: int, k: int = 10) -> dict[str, Targets]:
    """Targets of each protocol (A, B, C) in the `days` from `cut` on.

    Only customers and products of `history` count: a list cannot name what was no candidate. The ideal list of protocol
    B holds the whole basket, as the literature on next baskets has it; those of A and C are as long as the list.

    Args:
        order_lines: customer_id, product_id, quantity, amount, ordered_on, merchandise.
        history: what was bought before `cut`.
        cut: first day of the window.
        days: length of the window.
        k: length of a list.
    """
    width = len(history.products)
    window = day_baskets(order_lines).filter(pl.col("ordered_on").is_between(cut, cut + timedelta(days=days - 1)))
    bought = window.select(
        "ordered_on",
        row=pl.Series(history.row_of(window["customer_id"]).astype(np.int64)),
        column=pl.Series(history.column_of(window["product_id"]).astype(np.int64)),
    ).filter(pl.col("row") >= 0, pl.col("column") >= 0)
    first = bought.filter(pl.col("ordered_on") == pl.col("ordered_on").min().over("row"))
    everything, basket = _cells(bought, width), _cells(first, width)
    before = np.unique(history.rows.astype(np.int64) * width + history.columns)
    return {
        "A": _targets(everything, width, k),
        "B": _targets(basket, width, None),
        "C": _targets(np.setdiff1d(everything, before, assume_unique=True), width, k),
    }


def lists(model: Recommender, rows: Indices, k: int = 10) -> dict[str, Indices]:
    """Columns of the products a model ranks first for some matrix rows, per protocol; -1 where a list ends early.

    The lists of protocol C are ranked among what the customer never bought.
    """
    own = model.interactions_.counts()
    ranked = [_ranked_block(model.score(block), own[block].nonzero(), k) for _, block in blocks(rows)]
    anything, new = (np.concatenate(part) for part in zip(*ranked, strict=True))
    return {"A": anything, "B": anything, "C": new}


def measure(ranked: Indices, wanted: Targets) -> NDArray[np.float64]:
    """NDCG, recall and average precision of each list (customers x 3, in the order of METRICS).

    Binary relevance. Recall divides by all targets of the customer, average precision by min(targets, k) (Manning,
    Raghavan, Schuetze 2008, ch. 8; Jarvelin and Kekalainen 2002).

    Args:
        ranked: columns of the ranked products (rows of `wanted` x k), -1 for none.
        wanted: the targets.
    """
    k = ranked.shape[1]
    cells = wanted.rows.astype(np.int64)[:, None] * wanted.width + ranked
    hit = (ranked >= 0) & np.isin(cells, wanted.cells)
    relevant = np.bincount(np.searchsorted(wanted.rows, wanted.cells // max(wanted.width, 1)), minlength=len(hit))
    gain = 1 / np.log2(np.arange(max(k, int(relevant.max(initial=0)))) + 2)
    ideal = np.concatenate([[0.0], np.cumsum(gain)])
    longest = wanted.longest_ideal or len(gain)
    precision = np.cumsum(hit, axis=1) / np.arange(1, k + 1)
    return np.column_stack(
        [
            (hit * gain[:k]).sum(axis=1) / ideal[np.minimum(relevant, longest)],
            hit.sum(axis=1) / relevant,
            (hit * precision).sum(axis=1) / np.minimum(relevant, k),
        ]
    )


def evaluate(
    models: Mapping[str, Recommender],
    wanted: Mapping[str, Targets],
    k: int = 10,
    resamples: int = 200,
    seed: int = 0,
) -> pl.DataFrame:
    """Every metric of fitted models under every protocol, for all customers and per bucket.

    Args:
        models: fitted on the interactions the targets were made with, by name.
        wanted: targets per protocol.
        k: length of a list.
        resamples: bootstrap resamples of the customers; models share them, so that their intervals are comparable.
        seed: of those resamples.

    Returns:
        model, bucket, protocol, metric (`ndcg@10`, ...), value, low, high (95 %).
    """
    rows = wanted["A"].rows
    ranked = {name: lists(model, rows, k) for name, model in models.items()}
    history = next(iter(models.values())).interactions_
    bucket = history.trait("bucket")
    return pl.concat(
        [
            _compare(
                {name: lists_[protocol] for name, lists_ in ranked.items()}, rows, target, bucket, resamples, seed
            ).with_columns(protocol=pl.lit(protocol))
            for protocol, target in wanted.items()
        ]
    ).select("model", "bucket", "protocol", pl.col("metric") + f"@{k}", "value", "low", "high")


def mean_interval(
    values: NDArray[np.float64], resamples: int = 200, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean of each column and its 95 % bootstrap interval over rows (percentiles; Efron and Tibshirani 1993)."""
    with threadpool_limits(1, user_api="blas"):  # sums over more threads come out differently each time
        drawn = np.array([counts @ values / len(values) for counts in resample_counts(len(values), resamples, seed)])
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return values.mean(axis=0), low, high


def _compare(
    ranked: Mapping[str, Indices],
    rows: Indices,
    wanted: Targets,
    bucket: NDArray[np.object_],
    resamples: int,
    seed: int,
) -> pl.DataFrame:
    mine = {name: columns[np.searchsorted(rows, wanted.rows)] for name, columns in ranked.items()}
    values = {name: measure(columns, wanted) for name, columns in mine.items()}
    own = bucket[wanted.rows]
    members = {"all": np.ones(len(own), bool)} | {b: own == b for b in sorted({b for b in own if b is not None})}
    figures: list[dict[str, object]] = []
    for name, member in members.items():
        if not member.any():
            continue
        together = np.hstack([value[member] for value in values.values()])
        intervals = np.column_stack(mean_interval(together, resamples, seed)).reshape(len(mine), len(METRICS), 3)
        for model, columns, interval in zip(mine, mine.values(), intervals, strict=True):
            label = {"model": model, "bucket": name}
            for metric, (value, low, high) in zip(METRICS, interval.tolist(), strict=True):
                figures.append({**label, "metric": metric, "value": value, "low": low, "high": high})
            figures.append({**label, "metric": "coverage", "value": coverage(columns[member], wanted.width)})
    return pl.DataFrame(figures, schema={name: EVALUATION[name] for name in ("model", "bucket", "metric", *INTERVAL)})


def coverage(ranked: Indices, width: int) -> float:
    """Share of the candidate products that appear in at least one list."""
    return len(np.unique(ranked[ranked >= 0])) / max(width, 1)


def _ranked_block(scores: NDArray[np.float32], own: tuple[Indices, Indices], k: int) -> tuple[Indices, Indices]:
    anything = _named(*top_k(scores, k))
    scores[own] = -np.inf
    return anything, _named(*top_k(scores, k))


def _named(columns: Indices, scores: NDArray[np.float32]) -> Indices:
    return np.where(np.isfinite(scores), columns, -1)


def _cells(bought: pl.DataFrame, width: int) -> NDArray[np.int64]:
    return bought.select(cell=pl.col("row") * width + pl.col("column"))["cell"].unique().sort().to_numpy()


def _targets(cells: NDArray[np.int64], width: int, longest_ideal: int | None) -> Targets:
    rows = np.unique(cells // max(width, 1)).astype(np.int32)
    return Targets(rows, cells, width, longest_ideal)
