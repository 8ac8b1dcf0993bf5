"""Lifetime value beside the package lifetimes and rules without a model, and what a million customers take.

Models are fitted and chosen on the days up to a cut; what came after it judges them and nothing else.
"""

import argparse
from collections.abc import Callable
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
from complete_journey import ABSENT, connect, is_installed, order_lines
from measuring import alone, measured, print_json, report

from cer_assets.value import backtest, fit
from cer_assets.value.calendar import Calendar, day_number
from cer_assets.value.clv import HORIZONS
from cer_assets.value.histories import Floats, Past
from cer_assets.value.metrics import METRICS, with_interval
from cer_assets.value.rolling import MIN_HISTORY_DAYS

RESAMPLES = 200
PURCHASES = 8
"""Mean days with a purchase of a generated customer."""
YEAR = 365


def cdnow() -> pl.DataFrame | None:
    """`value.purchases` of the 23,570 CDNOW customers; None where lifetimes, which ships the file, is not installed."""
    package = find_spec("lifetimes")
    if package is None or package.origin is None:
        return None
    text = (Path(package.origin).parent / "datasets" / "CDNOW_master.txt").read_text()
    fields = [line.split() for line in text.splitlines()[1:] if line.strip()]
    return (
        pl.DataFrame(
            {"customer_id": [f[0] for f in fields], "on": [f[1] for f in fields], "paid": [f[3] for f in fields]}
        )
        .with_columns(ordered_on=pl.col("on").str.to_date("%Y%m%d"), amount=pl.col("paid").cast(pl.Decimal(18, 2)))
        .group_by("customer_id", "ordered_on")
        .agg(pl.col("amount").sum())
    )


def journey() -> pl.DataFrame | None:
    """`value.purchases` of Complete Journey; None where its package is not installed."""
    if not is_installed():
        return None
    with connect(order_lines()) as con:
        return con.sql("select customer_id, ordered_on, amount from value.purchases").pl()


SETS: dict[str, tuple[Callable[[], pl.DataFrame | None], date, date]] = {
    "CDNOW full, 39/39 weeks": (cdnow, date(1997, 9, 30), date(1998, 6, 30)),
    "Complete Journey, 39/13 weeks": (journey, date(2017, 9, 30), date(2017, 12, 31)),
}


def quality(purchases: pl.DataFrame, cut: date, end: date) -> dict[str, Any]:
    """Every candidate, rule and peer on one data set."""
    judged, cost = measured(lambda: backtest(purchases, cut, end, resamples=RESAMPLES))
    models: dict[str, Any] = {}
    for model, metric, value, low, high, _ in judged.iter_rows():
        models.setdefault(model, {})[metric] = value if low is None else {"value": value, "interval": [low, high]}
    chosen = judged.filter(pl.col("chosen"))["model"].unique().to_list()
    return {
        "cut": str(cut),
        "end": str(end),
        "chosen on earlier periods": chosen[0] if chosen else None,
        "of the chosen": {name: models[each][name] for each in chosen for name in METRICS},
        "models": models | {"lifetimes: BG/NBD x Gamma-Gamma": peer(purchases, cut, end)},
        "seconds": cost.seconds,
        "cpu_seconds": cost.cpu_seconds,
    }


def peer(purchases: pl.DataFrame, cut: date, end: date) -> dict[str, Any]:
    """BG/NBD x Gamma-Gamma as lifetimes fits and multiplies them, on the same customers."""
    try:
        from lifetimes import BetaGeoFitter, GammaGammaFitter  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as missing:
        return {"skipped": str(missing)}
    calendar, day = Calendar.of(purchases, end), day_number(cut)
    past = Past(calendar, day)
    old = past.tenure_days >= MIN_HISTORY_DAYS
    when = past.histories
    actual = calendar.spend(day, day_number(end))[past.place][old]
    try:
        often = BetaGeoFitter().fit(when.x, when.t_x, when.T)
        much = GammaGammaFitter().fit(past.days, past.mean_spend)
        bought = often.conditional_expected_number_of_purchases_up_to_time(
            (end - cut).days / 7, when.x[old], when.t_x[old], when.T[old]
        )
        spend = much.conditional_expected_average_profit(past.days[old], past.mean_spend[old])
    except Exception as failed:  # whatever a peer fails with is its figure here
        return {"failed": type(failed).__name__}
    figure: Floats = np.asarray(bought, dtype=np.float64) * np.asarray(spend, dtype=np.float64)
    samples = np.random.default_rng(0).integers(len(actual), size=(RESAMPLES, len(actual)))
    found = {name: with_interval(metric, figure, actual, samples) for name, metric in METRICS.items()}
    return {name: {"value": value, "interval": [low, high]} for name, (value, low, high) in found.items()}


def generated(customers: int, seed: int = 0) -> pl.DataFrame:
    """A year of `value.purchases`: rates, lifetimes and sizes of purchases differ from customer to customer."""
    generator = np.random.default_rng(seed)
    joined = generator.integers(0, YEAR - 1, customers) * (generator.random(customers) < 0.4)
    life = generator.exponential(1, customers) / generator.gamma(0.8, 1 / 200, customers)
    stays = np.minimum(life, YEAR - joined)
    rate = generator.gamma(0.9, 1.1, customers) * PURCHASES / 200
    counts = 1 + np.minimum(generator.poisson(rate * stays), 300)
    who = np.repeat(np.arange(customers, dtype=np.int32), counts)
    again = np.flatnonzero(np.diff(who, prepend=-1) == 0)
    when = joined[who].astype(np.float32)
    when[again] += generator.random(len(again), dtype=np.float32) * stays[who[again]].astype(np.float32)
    size = generator.gamma(4.0, 1 / 4.0, customers).astype(np.float32)[who] * generator.gamma(6.0, 4.0, len(who))
    ids = pl.Series([f"{number * 2654435761 % 2**32:08x}" for number in range(customers)])
    return (
        pl.DataFrame({"who": who, "day": when.astype(np.int16), "cents": (size * 100 + 1).astype(np.int64)})
        .unique(subset=["who", "day"], keep="first")
        .select(
            customer_id=pl.lit(ids).gather(pl.col("who")),
            ordered_on=pl.lit(date(2017, 1, 1)) + pl.duration(days=pl.col("day")),
            amount=(pl.col("cents").cast(pl.Decimal(18, 2)) / 100).cast(pl.Decimal(18, 2)),
        )
    )


def at_scale(file: str) -> None:
    """Fit, choose and predict from a file of purchases, and print what it took; run in a process of its own."""
    purchases, reading = measured(lambda: pl.read_parquet(file))
    as_of = date(2017, 1, 1) + timedelta(days=YEAR - 1)
    model, training = measured(lambda: fit(purchases, as_of))
    rows, predicting = measured(lambda: model.predict(purchases, as_of))
    print_json(
        {
            "customers": rows["customer_id"].n_unique(),
            "days_of_purchases": purchases.height,
            "horizons": list(HORIZONS),
            "rows": rows.height,
            "chosen": model.model,
            "seconds": {
                "read": reading.seconds,
                "fit and choose": training.seconds,
                "predict": predicting.seconds,
                "all": round(reading.seconds + training.seconds + predicting.seconds, 2),
            },
            "cpu_seconds": {
                "fit and choose": training.cpu_seconds,
                "predict": predicting.cpu_seconds,
                "all": round(reading.cpu_seconds + training.cpu_seconds + predicting.cpu_seconds, 2),
            },
            "peak_mb": max(reading.peak_mb, training.peak_mb, predicting.peak_mb),
        }
    )


def main() -> None:
    """Print every figure as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=1_000_000, help="generated customers; 0 leaves the scale out")
    parser.add_argument("--no-quality", action="store_true", help="leave out the public data sets")
    parser.add_argument("--at-scale", metavar="FILE", help="measure this file of purchases alone")
    arguments = parser.parse_args()
    if arguments.at_scale:
        at_scale(arguments.at_scale)
        return
    figures: dict[str, Any] = {}
    if not arguments.no_quality:
        for name, (read, cut, end) in SETS.items():
            purchases = read()
            figures[name] = {"skipped": ABSENT} if purchases is None else quality(purchases, cut, end)
    if arguments.customers:
        with TemporaryDirectory() as folder:
            file = Path(folder) / "purchases.parquet"
            generated(arguments.customers).write_parquet(file)
            figures["generated customers"] = alone(__file__, "--at-scale", str(file))
    report("clv", ["polars", "numpy", "scipy", "scikit-learn", "lifetimes"], figures)


if __name__ == "__main__":
    main()
