"""How good a ranking is on time it never saw: protocols, metrics, intervals over customers, differences; no models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cer_assets.arrays import distinct
from cer_assets.predict.evaluate import resample_counts
from cer_assets.recommend.interactions import Interactions, day_baskets
from cer_assets.recommend.model import Recommender
from cer_assets.recommend.topk import (
    Indices,
    Scores,
    block_size,
    leave_out,
    one_blas_thread,
    over_blocks,
    top_k,
)

EVALUATION = {
    "as_of": pl.Date,
    "cut": pl.Date,
    "model": pl.String,
    "bucket": pl.String,
    "protocol": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
}
"""Columns of `recommend.evaluation`: as_of is the last day known, cut the first day that the models of an origin did
not see; null: all origins together. Coverage has no interval: a resample repeats customers, so that its coverage is
lower by construction."""
INTERVAL = ("value", "low", "high")
PROTOCOLS = {
    "A": "everything bought in the window",
    "B": "the first day-basket of the window",
    "C": "everything bought in the window and never before",
}
ACCURACY = ("ndcg", "recall", "map")
METRICS = (*ACCURACY, "precision", "novelty", "repeats")
"""In the order of `measure`, then of `describe`."""
NEW, NEW_BELOW = "new", 3
"""The bucket, beside their own, of customers who had fewer day-baskets than this before the cut."""


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

    def of(self, rows: Indices) -> "Targets":
        """The targets of some customers alone."""
        mine = np.isin(self.cells // max(self.width, 1), rows)
        return Targets(np.intersect1d(self.rows, rows), self.cells[mine], self.width, self.longest_ideal)


@dataclass(frozen=True)
class Judged:
    """What the lists of several models were worth to each customer at one origin."""

    cut: date
    """First day the models did not see."""
    customers: pl.DataFrame
    """customer_id (sorted), bucket (null: none), new (whether they had few purchases before the cut)."""
    values: Mapping[str, Mapping[str, NDArray[np.float64]]]
    """By model and protocol: customers x METRICS, nan where a customer has no target or no list to speak of."""
    covered: Mapping[str, Mapping[str, Mapping[str, float]]]
    """By model, protocol and group of customers: share of the candidates that are on a list."""

    def beside(self, other: "Judged") -> "Judged":
        """These models and others that were judged on the same customers."""
        return Judged(self.cut, self.customers, {**self.values, **other.values}, {**self.covered, **other.covered})

    def groups(self) -> dict[str, NDArray[np.bool_]]:
        """Who is in `all`, in each bucket and, where there is anyone, among the `new`."""
        return _groups(self.customers)

    def per_customer(self, metric: str = "ndcg", protocol: str = "A") -> pl.DataFrame:
        """One metric of every model: cut, customer_id, bucket, new and a column per model, nan as null."""
        place = METRICS.index(metric)
        judged = {name: of[protocol] for name, of in sorted(self.values.items()) if protocol in of}
        values = [pl.Series(name, value[:, place]).fill_nan(None) for name, value in judged.items()]
        return self.customers.select(pl.lit(self.cut).alias("cut"), pl.all()).hstack(values)


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
    lines = order_lines.filter(pl.col("ordered_on").is_between(cut, cut + timedelta(days=days - 1)))
    window = day_baskets(lines)
    bought = window.select(
        "ordered_on",
        row=pl.Series(history.row_of(window["customer_id"]).astype(np.int64)),
        column=pl.Series(history.column_of(window["product_id"]).astype(np.int64)),
    ).filter(pl.col("row") >= 0, pl.col("column") >= 0)
    first = bought.filter(pl.col("ordered_on") == pl.col("ordered_on").min().over("row"))
    everything, basket = _cells(bought, width), _cells(first, width)
    before = distinct(history.rows.astype(np.int64) * width + history.columns)
    return {
        "A": _targets(everything, width, k),
        "B": _targets(basket, width, None),
        "C": _targets(np.setdiff1d(everything, before, assume_unique=True), width, k),
    }


def of_some(wanted: Mapping[str, Targets], most: int, seed: int = 0) -> dict[str, Targets]:
    """The targets of at most so many customers, drawn from those of protocol A where there are more."""
    everyone = wanted["A"].rows
    if len(everyone) <= most:
        return dict(wanted)
    drawn = np.sort(np.random.default_rng(seed).choice(everyone, most, replace=False))
    return {protocol: target.of(drawn) for protocol, target in wanted.items()}


def lists(model: Recommender, rows: Indices, k: int = 10) -> dict[str, Indices]:
    """Columns of the products a model ranks first for some matrix rows, per protocol; -1 where a list ends early.

    The lists of protocol C are ranked among what the customer never bought.
    """
    own, width = model.interactions_.counts(), len(model.interactions_.products)

    def ranked(_: int, block: Indices) -> tuple[Indices, Indices]:
        scores = model.score(block)
        anything = _named(*top_k(scores, k))
        return anything, _named(*top_k(leave_out(scores, block, without=own), k))

    found = [*over_blocks(ranked, rows, block_size(width))]
    if not found:
        return dict.fromkeys(PROTOCOLS, np.empty((0, min(k, width)), np.int32))
    anything, new = (np.concatenate(part) for part in zip(*found, strict=True))
    return {"A": anything, "B": anything, "C": new}


def measure(ranked: Indices, wanted: Targets) -> NDArray[np.float64]:
    """NDCG, recall and average precision of each list (customers x 3, in the order of ACCURACY).

    Binary relevance. Recall divides by all targets of the customer, average precision by min(targets, k) (Manning,
    Raghavan, Schuetze 2008, ch. 8; Jarvelin and Kekalainen 2002).

    Args:
        ranked: columns of the ranked products (rows of `wanted` x k), -1 for none.
        wanted: the targets.
    """
    k = ranked.shape[1]
    hit = _hits(ranked, wanted)
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


def describe(ranked: Indices, wanted: Targets, history: Interactions, k: int) -> NDArray[np.float64]:
    """Precision, novelty and share of repeats of each list (customers x 3); the last two are nan for an empty list.

    Precision divides by `k` however short a list is. Novelty is the mean self-information -log2(share of the customers
    who bought the product) in bits (Zhou et al. 2010, "Solving the apparent diversity-accuracy dilemma of recommender
    systems"); what nobody bought counts as if one had.

    Args:
        ranked: columns of the ranked products (rows of `wanted` x k), -1 for none.
        wanted: the targets.
        history: what the models were fitted with.
        k: length of a list that is full.
    """
    if not len(ranked):
        return np.empty((0, 3))
    bought = history.counts()
    named = ranked >= 0
    columns = np.maximum(ranked, 0)
    buyers = np.maximum(np.bincount(bought.indices, minlength=max(wanted.width, 1)), 1)
    surprise = -np.log2(buyers / max(int((np.diff(bought.indptr) > 0).sum()), 1))
    before = np.asarray(bought[np.repeat(wanted.rows, columns.shape[1]), columns.ravel()]).reshape(columns.shape) > 0
    length = np.where(named.any(axis=1), named.sum(axis=1), np.nan)
    return np.column_stack(
        [
            _hits(ranked, wanted).sum(axis=1) / k,
            (surprise[columns] * named).sum(axis=1) / length,
            (before & named).sum(axis=1) / length,
        ]
    )


def judge(models: Mapping[str, Recommender], wanted: Mapping[str, Targets], cut: date, k: int = 10) -> Judged:
    """What every list of fitted models was worth to each customer with a target.

    Args:
        models: fitted on the interactions the targets were made with, by name.
        wanted: targets per protocol, or of some protocols; A among them.
        cut: the first day the models did not see.
        k: length of a list.
    """
    history = next(iter(models.values())).interactions_
    ranked = {name: lists(model, wanted["A"].rows, k) for name, model in models.items()}
    return judge_lists(ranked, wanted, history, cut, k)


def judge_lists(
    ranked: Mapping[str, Mapping[str, Indices]],
    wanted: Mapping[str, Targets],
    history: Interactions,
    cut: date,
    k: int = 10,
) -> Judged:
    """What lists were worth, whoever made them.

    Args:
        ranked: by name and protocol, columns of the products on the list of each row of protocol A's targets (rows x
            k), -1 for none; a protocol without lists is not judged.
        wanted: targets per protocol, or of some protocols; A among them.
        history: the interactions the targets were made with.
        cut: the first day the lists were made without.
        k: length of a list.
    """
    rows = wanted["A"].rows
    customers = _customers(history, rows)
    values: dict[str, dict[str, NDArray[np.float64]]] = {}
    covered: dict[str, dict[str, dict[str, float]]] = {}
    for name, of in ranked.items():
        asked = {protocol: target for protocol, target in wanted.items() if protocol in of}
        values[name] = {p: _aligned(of[p], rows, target, history, k) for p, target in asked.items()}
        covered[name] = {
            protocol: {
                group: coverage(of[protocol][member & np.isin(rows, target.rows)], target.width)
                for group, member in _groups(customers).items()
            }
            for protocol, target in asked.items()
        }
    return Judged(cut, customers, values, covered)


def figures(judged: Sequence[Judged], k: int = 10, resamples: int = 200, seed: int = 0) -> pl.DataFrame:
    """Every metric of every model under every protocol, for all customers and by group, by origin and over them.

    Over several origins a customer is drawn with all their lists, and coverage is the mean of the origins'.

    Args:
        judged: one or several origins; over all together stand only models that were judged at each, under a protocol
            they were judged under at each, as others would have been asked of other customers.
        k: length of the lists.
        resamples: bootstrap resamples of the customers; models share them, so that their intervals are comparable.
        seed: of those resamples.

    Returns:
        cut (null: all origins together), model, bucket (`all`, a value bucket or `new`), protocol, metric (`ndcg@10`,
        ...), value, low, high (95 %).
    """
    origins = [(one.cut, [one]) for one in judged]
    with one_blas_thread():
        parts = [_figures(cut, some, k, resamples, seed) for cut, some in [(None, list(judged)), *origins] if some]
    columns = [name for name in EVALUATION if name != "as_of"]
    return pl.concat([pl.DataFrame(schema={name: EVALUATION[name] for name in columns}), *parts])


def evaluate(
    models: Mapping[str, Recommender],
    wanted: Mapping[str, Targets],
    k: int = 10,
    resamples: int = 200,
    seed: int = 0,
) -> pl.DataFrame:
    """The `figures` of fitted models at one origin, without a cut; arguments as those of `judge` and `figures`."""
    one = judge(models, wanted, date.min, k)
    return figures([one], k, resamples, seed).filter(pl.col("cut").is_null()).drop("cut")


def mean_interval(
    values: NDArray[np.float64], resamples: int = 200, seed: int = 0, customers: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean of each column and its 95 % bootstrap interval over customers (percentiles; Efron and Tibshirani 1993).

    Args:
        values: (n x m); nan is not counted, and a column of nothing else is nan.
        resamples: how often customers are drawn.
        seed: of the draws.
        customers: the number of each row's customer, from 0 on (n); every row its own, where it is not given. All rows
            of a customer are drawn together.
    """
    known = ~np.isnan(values)
    sums, numbers = np.where(known, values, 0.0), known.astype(np.float64)
    if customers is not None:
        sums, numbers = _by_customer(sums, customers), _by_customer(numbers, customers)
    drawn = np.empty((resamples, values.shape[1]))
    with one_blas_thread():  # sums over more threads come out differently each time
        for place, counts in enumerate(resample_counts(len(sums), resamples, seed)):
            drawn[place] = _share(counts @ sums, counts @ numbers)
    mean = _share(sums.sum(axis=0), numbers.sum(axis=0))
    low, high = _percentiles(drawn)
    # Where all customers are alike, rounding puts the mean outside an interval of no width.
    return mean, np.minimum(low, mean), np.maximum(high, mean)


def paired(
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
    resamples: int = 1000,
    seed: int = 0,
    customers: NDArray[np.int64] | None = None,
) -> tuple[float, float, float]:
    """By how much one model leads another on the same customers: mean difference and its 95 % bootstrap interval.

    Args:
        ours: a value a customer (n), nan where there is none.
        theirs: the other model's, in the same order.
        resamples: how often customers are drawn.
        seed: of the draws.
        customers: as in `mean_interval`.
    """
    value, low, high = mean_interval((ours - theirs)[:, None], resamples, seed, customers)
    return float(value[0]), float(low[0]), float(high[0])


def coverage(ranked: Indices, width: int) -> float:
    """Share of the candidate products that appear in at least one list."""
    return len(distinct(ranked[ranked >= 0])) / max(width, 1)


def _figures(cut: date | None, judged: Sequence[Judged], k: int, resamples: int, seed: int) -> pl.DataFrame:
    together = pl.concat([one.customers for one in judged])
    rows: list[dict[str, object]] = []
    for group, member in _groups(together).items():
        customers = together.filter(member)["customer_id"].rank("dense").to_numpy().astype(np.int64) - 1
        for protocol in PROTOCOLS:
            everywhere = [{name for name, of in one.values.items() if protocol in of} for one in judged]
            models = sorted(set.intersection(*everywhere))
            if not models:
                continue
            values = np.hstack([np.vstack([one.values[name][protocol] for one in judged]) for name in models])[member]
            if np.isnan(values).all():
                continue
            intervals = np.column_stack(mean_interval(values, resamples, seed, customers))
            for model, of in zip(models, intervals.reshape(len(models), len(METRICS), 3).tolist(), strict=True):
                label = {"cut": cut, "model": model, "bucket": group, "protocol": protocol}
                for metric, interval in zip(METRICS, of, strict=True):
                    if not np.isnan(interval[0]):
                        rows.append({**label, "metric": f"{metric}@{k}", **dict(zip(INTERVAL, interval, strict=True))})
                covered = [of[group] for of in (one.covered[model][protocol] for one in judged) if group in of]
                if covered:
                    rows.append({**label, "metric": f"coverage@{k}", "value": float(np.mean(covered))})
    return pl.DataFrame(rows, schema={name: dtype for name, dtype in EVALUATION.items() if name != "as_of"})


def _aligned(ranked: Indices, rows: Indices, wanted: Targets, history: Interactions, k: int) -> NDArray[np.float64]:
    """The METRICS of each row, nan for one without a target."""
    values = np.full((len(rows), len(METRICS)), np.nan)
    places = np.searchsorted(rows, wanted.rows)
    mine = ranked[places]
    values[places] = np.hstack([measure(mine, wanted), describe(mine, wanted, history, k)])
    return values


def _customers(history: Interactions, rows: Indices) -> pl.DataFrame:
    days = distinct(history.rows.astype(np.int64) << 32 | history.days) >> 32
    baskets = np.bincount(days, minlength=history.shape[0])
    return pl.DataFrame(
        {
            "customer_id": history.customers.gather(rows),
            "bucket": pl.Series(history.trait("bucket")[rows].tolist(), dtype=pl.String),
            "new": baskets[rows] < NEW_BELOW,
        }
    )


def _groups(customers: pl.DataFrame) -> dict[str, NDArray[np.bool_]]:
    own = customers["bucket"]
    members = {"all": np.ones(customers.height, bool)}
    members |= {name: (own == name).fill_null(False).to_numpy() for name in own.drop_nulls().unique().sort()}
    if customers["new"].any():
        members[NEW] = customers["new"].to_numpy()
    return members


def _by_customer(values: NDArray[np.float64], customers: NDArray[np.int64]) -> NDArray[np.float64]:
    added = np.zeros((int(customers.max(initial=-1)) + 1, values.shape[1]))
    np.add.at(added, customers, values)
    return added


def _share(sums: NDArray[np.float64], numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(numbers > 0, sums / np.maximum(numbers, 1), np.nan)


def _percentiles(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """The ends of the 95 % interval of each column (2 x m); nan for a column without a figure."""
    ends = np.full((2, drawn.shape[1]), np.nan)
    known = ~np.isnan(drawn).all(axis=0)
    ends[:, known] = np.nanquantile(drawn[:, known], [0.025, 0.975], axis=0)
    return ends


def _hits(ranked: Indices, wanted: Targets) -> NDArray[np.bool_]:
    cells = wanted.rows.astype(np.int64)[:, None] * wanted.width + ranked
    return (ranked >= 0) & np.isin(cells, wanted.cells)


def _named(columns: Indices, scores: Scores) -> Indices:
    return np.where(np.isfinite(scores), columns, -1)


def _cells(bought: pl.DataFrame, width: int) -> NDArray[np.int64]:
    return bought.select(cell=pl.col("row") * width + pl.col("column"))["cell"].unique().sort().to_numpy()


def _targets(cells: NDArray[np.int64], width: int, longest_ideal: int | None) -> Targets:
    rows = distinct(cells // max(width, 1)).astype(np.int32)
    return Targets(rows, cells, width, longest_ideal)
