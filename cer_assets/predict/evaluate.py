"""How good a probability is on rows it never saw: metrics, their intervals over customers, and calibration."""

from collections.abc import Iterator
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

METRICS = ("auc", "average_precision", "brier", "lift@10")
"""In the order of `measure`; `lift@10` is the rate among the tenth with the highest probability over that of all."""
EVALUATION = {
    "as_of": pl.Date,
    "model": pl.String,
    "horizon_days": pl.Int64,
    "cut": pl.Date,
    "metric": pl.String,
    "of": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
}
"""Columns of `predict.evaluation`."""
CALIBRATION = {
    "as_of": pl.Date,
    "model": pl.String,
    "horizon_days": pl.Int64,
    "bin": pl.Int64,
    "predicted": pl.Float64,
    "observed": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "customers": pl.Int64,
}
"""Columns of `predict.calibration`."""


def resample_counts(n: int, times: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each of n customers is drawn in a bootstrap resample (n), `times` times; one seed, one sequence."""
    rng = np.random.default_rng(seed)
    return (np.bincount(rng.integers(n, size=n), minlength=n).astype(np.float64) for _ in range(times))


def measure(
    happened: NDArray[np.bool_], probability: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The METRICS of weighted rows.

    Equal probabilities count half a pair in the AUC and one threshold in the average precision, and share what is left
    of the tenth (Hanley and McNeil 1982; Brier 1950). All but the Brier score are nan where only one outcome occurs.

    Args:
        happened: what came (n).
        probability: what was predicted (n).
        weights: how often each row counts (n).
    """
    order = np.argsort(-probability, kind="stable")
    sorted_, hit = probability[order], np.where(happened[order], weights[order], 0.0)
    last = np.flatnonzero(np.append(sorted_[1:] != sorted_[:-1], True))
    found, seen = np.cumsum(hit)[last], np.cumsum(weights[order])[last]
    missed = seen - found
    hits, misses = np.diff(found, prepend=0.0), np.diff(missed, prepend=0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        above = (misses * (found - hits / 2)).sum() / (found[-1] * missed[-1])
        precision = (hits * np.where(seen > 0, found / seen, 0.0)).sum() / found[-1]
        tenth = np.interp(0.1 * seen[-1], np.append(0.0, seen), np.append(0.0, found))
        lift = tenth / (0.1 * found[-1]) if missed[-1] > 0 else np.nan
    return np.array([above, precision, np.average(np.square(probability - happened), weights=weights), lift])


def measure_with_intervals(
    happened: NDArray[np.bool_],
    probability: NDArray[np.float64],
    resamples: int = 200,
    seed: int = 0,
    customers: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """Each metric with its 95 % bootstrap interval over customers: (METRICS x value, low, high).

    Args:
        happened: what came (n).
        probability: what was predicted (n).
        resamples: how often customers are drawn.
        seed: of the draws.
        customers: the number of each row's customer, from 0 on (n); every row its own, where it is not given. All rows
            of a customer are drawn together.
    """
    customers = np.arange(len(happened)) if customers is None else customers
    value = measure(happened, probability, np.ones(len(happened)))
    draws = resample_counts(int(customers.max()) + 1, resamples, seed)
    drawn = np.array([measure(happened, probability, counts[customers]) for counts in draws])
    low, high = np.nanquantile(drawn, [0.025, 0.975], axis=0)
    return np.column_stack([value, low, high])


def evaluation(
    held_out: pl.DataFrame, model: str, horizon_days: int | None, as_of: date, resamples: int = 200, seed: int = 0
) -> pl.DataFrame:
    """How well a model and its baselines foresaw what came, at each cut and over all cuts.

    Args:
        held_out: rows of `predictor.judge`.
        model: what was judged, as in the tables.
        horizon_days: of the model.
        as_of: first day not read when it was judged.
        resamples: bootstrap resamples of the customers behind an interval; models share them.
        seed: of those resamples.

    Returns:
        Rows of EVALUATION: as_of (the last day known), cut (null: all cuts together), metric, of (the model or the
        baseline), value, low, high (95 %); no rows of a cut where only one outcome came, nor of a baseline that had
        no figure for somebody.
    """
    cuts = [(cut, held_out.filter(pl.col("cut") == cut)) for cut in held_out["cut"].unique().sort(descending=True)]
    judged = [*cuts, (None, held_out)]
    figures = [row for cut, rows in judged for row in _figures(rows, cut, resamples, seed)]
    frame = pl.DataFrame(
        figures,
        schema={name: EVALUATION[name] for name in ("cut", "metric", "of", "value", "low", "high")},
        orient="row",
    )
    return _headed(frame, model, horizon_days, as_of).select(*EVALUATION)


def _figures(
    rows: pl.DataFrame, cut: date | None, resamples: int, seed: int
) -> Iterator[tuple[date | None, str, str, float, float, float]]:
    happened = rows["happened"].to_numpy()
    if happened.all() or not happened.any():
        return
    customers = rows["customer_id"].rank("dense").to_numpy().astype(np.int64) - 1
    for of in _models(rows):
        if rows[of].is_nan().any():
            continue
        intervals = measure_with_intervals(happened, rows[of].to_numpy(), resamples, seed, customers)
        for metric, (value, low, high) in zip(METRICS, intervals.tolist(), strict=True):
            yield cut, metric, of, value, low, high


def calibration(
    held_out: pl.DataFrame, model: str, horizon_days: int | None, as_of: date, bins: int = 10
) -> pl.DataFrame:
    """Predicted against observed, in bins of equally many rows of all judged cuts.

    Args:
        held_out: rows of `predictor.judge`.
        model: the model, and the column of its probabilities.
        horizon_days: of the model.
        as_of: first day not read when it was judged.
        bins: how many.

    Returns:
        Rows of CALIBRATION: as_of (the last day known), bin (0 the least likely), predicted (mean probability),
        observed (share where it happened), low, high (95 % interval of that share, Wilson 1927), customers
        (rows of the bin).
    """
    if model not in held_out.columns:
        held_out = held_out.with_columns(pl.lit(None, pl.Float64).alias(model))
    keys = [name for name in held_out.columns if held_out.schema[name] == pl.String]
    ranked = held_out.sort(model, "cut", *keys).with_row_index("place")
    bin_ = (pl.col("place") * bins // max(held_out.height, 1)).cast(pl.Int64)
    n, p, z = pl.col("customers"), pl.col("observed"), 1.96
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    spread = z / (1 + z**2 / n) * (p * (1 - p) / n + z**2 / (4 * n**2)).sqrt()
    frame = (
        ranked.group_by(bin_.alias("bin"))
        .agg(predicted=pl.col(model).mean(), observed=pl.col("happened").mean(), customers=pl.len().cast(pl.Int64))
        .with_columns(low=(centre - spread).clip(0, 1), high=(centre + spread).clip(0, 1))
        .sort("bin")
    )
    return _headed(frame, model, horizon_days, as_of).select(
        pl.col(name).cast(kind) for name, kind in CALIBRATION.items()
    )


def _headed(frame: pl.DataFrame, model: str, horizon_days: int | None, as_of: date) -> pl.DataFrame:
    return frame.with_columns(
        as_of=pl.lit(as_of).dt.offset_by("-1d"), model=pl.lit(model), horizon_days=pl.lit(horizon_days, pl.Int64)
    )


def _models(held_out: pl.DataFrame) -> list[str]:
    columns = held_out.columns
    return columns[columns.index("happened") + 1 :]
