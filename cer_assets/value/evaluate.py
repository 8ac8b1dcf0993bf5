"""How well lifetime value was foretold: candidates and naive rules against what customers then spent."""

from datetime import date

import numpy as np
import polars as pl

from cer_assets.value.calendar import Calendar, day_number
from cer_assets.value.candidates import Candidate
from cer_assets.value.clv import FIT_AT_MOST, fit
from cer_assets.value.histories import Floats, Past
from cer_assets.value.metrics import METRICS, share, with_interval
from cer_assets.value.rolling import OUTSIDE, Period, judge

Row = tuple[str, str, float | None, float | None, float | None, bool]

SCHEMA = {
    "model": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "chosen": pl.Boolean,
}

SPEND_SO_FAR = "spend_so_far"


def backtest(purchases: pl.DataFrame, cut: date, end: date, *, seed: int = 0, resamples: int = 200) -> pl.DataFrame:
    """Judge what was fitted up to a day by what its customers spent in the days after it.

    All are judged on the same customers: those with a figure at `cut`, whatever they did later, or a random sample of
    25,000 of them. Beside the candidates stands `spend_so_far`: each customer's spend goes on at the pace of the whole
    observation (for ranking the same as the amount spent so far). `own_rate`, each customer's spend per day since the
    first purchase goes on, is a rule without a model too.

    Args:
        purchases: `value.purchases` from the first day to `end` at least.
        cut: the last day that is known when fitting and choosing.
        end: the last day they are judged on.
        seed: of the bootstrap.
        resamples: bootstrap samples of customers.

    Returns:
        model, metric, value, low, high (95 % percentile bootstrap over customers), chosen (whether earlier periods
        chose this candidate at `cut`), with metrics `mae` (money), `spearman`, `top_decile_lift` (spend of the tenth
        with the highest figures over a tenth of all spend), `bias` (sum of figures over sum of spend, less 1),
        `coverage` (share of customers whose spend fell between low and high: four in five if they are right), and
        under model `all` `customers` and `with_figure` (the share of customers that had one). A metric that does not
        exist (say a bias where nobody bought) is null.

        Where nobody had a figure at `cut`, only those two rows.

    Raises:
        ValueError: `end` is not after `cut`.
    """
    if end <= cut:
        raise ValueError(f"end {end} must come after cut {cut}")
    days = (end - cut).days
    model = fit(purchases, cut, horizon_days=days)
    calendar = Calendar.of(purchases, end, FIT_AT_MOST)
    past = Past(calendar, day_number(cut))
    period = judge(calendar, day_number(cut), days, model.parts) if model.parts else None
    judged = len(period.actual) if period else 0
    rows: list[Row] = [
        ("all", "customers", float(judged), None, None, False),
        ("all", "with_figure", judged / len(past) if len(past) else None, None, None, False),
    ]
    if period:
        return pl.concat(
            [
                pl.DataFrame(rows, schema=SCHEMA, orient="row"),
                measured(period, model.model, model.levels, seed=seed, resamples=resamples),
            ]
        )
    return pl.DataFrame(rows, schema=SCHEMA, orient="row").fill_nan(None)


def measured(
    period: Period, chosen: Candidate | None, levels: tuple[float, float], *, seed: int = 0, resamples: int = 50
) -> pl.DataFrame:
    """Every metric of every candidate in a period, with its interval: rows of `backtest`.

    Args:
        period: what was fitted, and what came.
        chosen: the candidate in use; its interval lies at `levels`, those of the others where their models say.
        levels: see `CLVModel`.
        seed: of the bootstrap.
        resamples: bootstrap samples of customers; all candidates share them.
    """
    # Drawn by row number in the order of customer_id: the same samples whatever the rows' order.
    generator = np.random.default_rng(seed)
    samples = generator.integers(len(period.actual), size=(resamples, len(period.actual)))
    actual = period.actual
    figures: dict[str, Floats] = {each: period.figure(each) for each in period.parts.candidates}
    figures[SPEND_SO_FAR] = period.outlook.spend_so_far / period.outlook.observed_days * period.days
    rows: list[Row] = [
        (name, metric, *with_interval(function, figure, actual, samples), name == chosen)
        for name, figure in figures.items()
        for metric, function in METRICS.items()
    ]
    for name in period.parts.candidates:
        low, high = levels if name == chosen else (OUTSIDE, 1 - OUTSIDE)
        inside = (actual >= period.outlook.quantile(name, period.days, low)) & (
            actual <= period.outlook.quantile(name, period.days, high)
        )
        rows.append(
            (name, "coverage", *with_interval(share, inside.astype(np.float64), actual, samples), name == chosen)
        )
    return pl.DataFrame(rows, schema=SCHEMA, orient="row").fill_nan(None)
