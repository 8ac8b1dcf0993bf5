"""Customers who buy exactly as the models of value assume; the tests know their parameters."""

from datetime import date, timedelta

import numpy as np
import polars as pl

from cer_assets.value.histories import Floats, Histories

START = date(2023, 1, 1)
AT_MOST = 400


def bg_nbd_histories(n: int, weeks: float, r: float, alpha: float, a: float, b: float, seed: int) -> Histories:
    generator = np.random.default_rng(seed)
    rate = generator.gamma(r, 1 / alpha, n)
    leaves = generator.beta(a, b, n)
    T = weeks - generator.uniform(0, weeks / 2, n)
    purchases = np.cumsum(generator.exponential(1, (n, AT_MOST)) / rate[:, None], axis=1)
    stays = generator.geometric(leaves)
    seen = (purchases <= T[:, None]) & (np.arange(1, AT_MOST + 1) <= stays[:, None])
    return Histories(x=seen.sum(axis=1).astype(float), t_x=np.max(purchases * seen, axis=1), T=T)


def pareto_nbd_purchases(
    n: int, weeks: float, r: float, alpha: float, s: float, beta: float, seed: int
) -> tuple[Floats, Floats]:
    """Purchases after the first, in weeks since it, inf where there is none; and T at `weeks`."""
    generator = np.random.default_rng(seed)
    rate = generator.gamma(r, 1 / alpha, n)
    life = generator.exponential(1, n) / generator.gamma(s, 1 / beta, n)
    T = weeks - generator.uniform(0, weeks / 2, n)
    purchases = np.cumsum(generator.exponential(1, (n, AT_MOST)) / rate[:, None], axis=1)
    return np.where(purchases <= life[:, None], purchases, np.inf), T


def pareto_nbd_histories(n: int, weeks: float, r: float, alpha: float, s: float, beta: float, seed: int) -> Histories:
    purchases, T = pareto_nbd_purchases(n, weeks, r, alpha, s, beta, seed)
    seen = purchases <= T[:, None]
    return Histories(x=seen.sum(axis=1).astype(float), t_x=np.where(seen, purchases, 0).max(axis=1), T=T)


def gamma_gamma_means(n: Floats, p: float, q: float, gamma: float, seed: int) -> Floats:
    generator = np.random.default_rng(seed)
    return generator.gamma(p * n) / n / generator.gamma(q, 1 / gamma, len(n))


def shop(n: int = 400, weeks: int = 52, seed: int = 0) -> pl.DataFrame:
    """A year of customer days: customer_id, ordered_on, amount Decimal."""
    parameters = (1.2, 4.0, 0.8, 30.0)
    times, T = pareto_nbd_purchases(n, float(weeks), *parameters, seed=seed)
    generator = np.random.default_rng(seed + 1)
    rate = generator.gamma(4.0, 1 / 30.0, n)
    joined = weeks - T
    customer, number = np.nonzero(times + joined[:, None] <= weeks)
    later = (joined[customer] + times[customer, number]) * 7
    days = np.floor(np.concatenate([joined * 7, later])).astype(int)
    who = np.concatenate([np.arange(n), customer])
    amount = generator.gamma(6.0, 1, len(who)) / rate[who]
    return (
        pl.DataFrame({"customer": who, "day": days, "amount": amount})
        .with_columns(
            pl.format("c{}", pl.col("customer").cast(pl.String).str.zfill(4)).alias("customer_id"),
            (pl.lit(START) + pl.duration(days=pl.col("day"))).cast(pl.Date).alias("ordered_on"),
        )
        .group_by("customer_id", "ordered_on")
        .agg(pl.col("amount").sum().round(2).cast(pl.Decimal(18, 2)))
        .sort("customer_id", "ordered_on")
    )


def day(number: int) -> date:
    return START + timedelta(days=number)
