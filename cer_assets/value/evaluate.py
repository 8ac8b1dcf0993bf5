"""How well lifetime value was foretold: models and naive rules against what customers then spent."""

from collections.abc import Callable, Mapping
from datetime import date

import numpy as np
import polars as pl
from scipy.stats import rankdata

from cer_assets.value import clv
from cer_assets.value.histories import Floats, customer_histories

Metric = Callable[[Floats, Floats], float]
Row = tuple[str, str, float | None, float | None, float | None]

RULES = ("own_rate", "spend_so_far")

SCHEMA = {
    "model": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
}

# Nine bootstrap intervals in ten hold the figure of the population the customers are drawn from.
TAIL = 0.05


def backtest(purchases: pl.DataFrame, cut: date, end: date, *, seed: int = 0, resamples: int = 200) -> pl.DataFrame:
    """Judge models fitted up to a day by what their customers spent in the days after it.

    All are judged on the same customers: those with a figure at `cut`, whatever they did later.
    Beside the models stand two rules without a model: `own_rate`, each customer's spend per day
    since the first purchase goes on, and `spend_so_far`, each customer's spend goes on at the pace
    of the whole observation (for ranking the same as the amount spent so far).

    Args:
        purchases: `value.purchases` from the first day to `end` at least.
        cut: the last day the models see.
        end: the last day they are judged on.
        seed: of the bootstrap.
        resamples: bootstrap samples of customers.

    Returns:
        model, metric, value, low, high (90 % percentile bootstrap over customers), with metrics
        `mae` (money), `spearman`, `top_decile_lift` (spend of the tenth with the highest figures
        over a tenth of all spend), `bias` (sum of figures over sum of spend, less 1), for the
        models `coverage` (share of customers whose spend fell between low and high, `INTERVAL` if
        they are right), and under model `all` `customers` and `with_figure` (the share of customers
        that had one). A metric that does not exist (say a bias where nobody bought) is null.

        Where nobody had a figure at `cut`, only those two rows.

    Raises:
        ValueError: `end` is not after `cut`.
    """
    if end <= cut:
        raise ValueError(f"end {end} must come after cut {cut}")
    known = len(customer_histories(purchases, cut))
    judged = _judged_customers(purchases, cut, end)
    population: list[Row] = [
        ("all", "customers", float(len(judged)), None, None),
        ("all", "with_figure", len(judged) / known if known else None, None, None),
    ]
    figures = [] if judged.is_empty() else _figures(judged, seed, resamples)
    rows = population + figures
    return pl.DataFrame(rows, schema=SCHEMA, orient="row").fill_nan(None)


def _figures(judged: pl.DataFrame, seed: int, resamples: int) -> list[Row]:
    """Every metric of every model and rule on the customers of `_judged_customers`."""
    # Drawn by row number in the order of customer_id: the same samples whatever the rows' order.
    generator = np.random.default_rng(seed)
    samples = generator.integers(len(judged), size=(resamples, len(judged)))
    actual = judged["actual"].to_numpy()
    rows: list[Row] = [
        (name, metric, *_with_interval(function, judged[name].to_numpy(), actual, samples))
        for name in (*clv.COUNT_MODELS, *RULES)
        for metric, function in METRICS.items()
    ]
    for name in clv.COUNT_MODELS:
        hit = judged[f"{name}_hit"].to_numpy().astype(np.float64)
        rows.append((name, "coverage", *_with_interval(_share, hit, actual, samples)))
    return rows


def _judged_customers(purchases: pl.DataFrame, cut: date, end: date) -> pl.DataFrame:
    """Customers with a figure at `cut`, in the order of customer_id.

    Columns: customer_id, actual (spend in the test window), one column a model or rule, and for a
    model whether the actual spend fell into its interval (`<model>_hit`).
    """
    horizon = (end - cut).days
    judged = _naive_rules(purchases, cut, horizon).join(
        _spend_between(purchases, cut, end), on="customer_id", how="left", maintain_order="left"
    )
    judged = judged.with_columns(pl.col("actual").fill_null(0.0))
    hit = pl.col("actual").is_between("low", "high")
    for name in clv.COUNT_MODELS:
        figures = clv.fit(purchases, cut, counts=name).predict(purchases, cut, horizon)
        judged = (
            judged.join(figures, on="customer_id", how="inner", maintain_order="left")
            .filter(pl.col("reason").is_null())
            .with_columns(pl.col("expected_spend").alias(name), hit.alias(f"{name}_hit"))
            .drop([column for column in clv.COLUMNS if column != "customer_id"])
        )
    return judged


def _spend_between(purchases: pl.DataFrame, cut: date, end: date) -> pl.DataFrame:
    """Net spend of each customer after `cut` up to `end`: customer_id, actual Float64."""
    amount = pl.col("amount").cast(pl.Decimal(18, 2)).sum().cast(pl.Float64)
    return (
        purchases.filter((pl.col("ordered_on") > cut) & (pl.col("ordered_on") <= end))
        .group_by("customer_id")
        .agg(amount.alias("actual"))
    )


def _naive_rules(purchases: pl.DataFrame, cut: date, horizon: int) -> pl.DataFrame:
    """What goes on as before: customer_id, own_rate and spend_so_far, money in the horizon."""
    days_since_first = (pl.lit(cut) - pl.col("first_ordered_on")).dt.total_days() + 1
    observed = (pl.lit(cut) - pl.col("first_ordered_on").min()).dt.total_days() + 1
    return customer_histories(purchases, cut).select(
        "customer_id",
        (pl.col("spend") / days_since_first * horizon).alias("own_rate"),
        (pl.col("spend") / observed * horizon).alias("spend_so_far"),
    )


def _with_interval(metric: Metric, figure: Floats, actual: Floats, samples: np.ndarray) -> tuple[float, float, float]:
    """A metric's value, and the limits of its bootstrap interval."""
    drawn = np.array([metric(figure[sample], actual[sample]) for sample in samples])
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return metric(figure, actual), np.nan, np.nan
    low, high = np.quantile(drawn, [TAIL, 1 - TAIL])
    return metric(figure, actual), float(low), float(high)


def _mae(figure: Floats, actual: Floats) -> float:
    return float(np.abs(figure - actual).mean())


def _spearman(figure: Floats, actual: Floats) -> float:
    """Correlation of ranks, ties at their mean rank; no number where either is constant."""
    ranks = [rankdata(values) - (len(values) + 1) / 2 for values in (figure, actual)]
    scale = np.sqrt(np.sum(ranks[0] ** 2) * np.sum(ranks[1] ** 2))
    return float(np.sum(ranks[0] * ranks[1]) / scale) if scale > 0 else np.nan


def _top_decile_lift(figure: Floats, actual: Floats) -> float:
    top = np.argsort(-figure, kind="stable")[: max(1, len(figure) // 10)]
    mean = actual.mean()
    return float(actual[top].mean() / mean) if mean > 0 else np.nan


def _bias(figure: Floats, actual: Floats) -> float:
    total = actual.sum()
    return float(figure.sum() / total - 1) if total > 0 else np.nan


def _share(hit: Floats, _: Floats) -> float:
    return float(hit.mean())


METRICS: Mapping[str, Metric] = {
    "mae": _mae,
    "spearman": _spearman,
    "top_decile_lift": _top_decile_lift,
    "bias": _bias,
}
