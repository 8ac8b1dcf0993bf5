"""Segments of a million customers, from order lines to profiles, beside scikit-learn and hierarchies on their features.

The order lines are generated: customers of six kinds, who differ in how often and when they come, how much they buy and
what they like. Peers cluster the features that ours are made of; they choose no number of segments, repeat nothing and
name nothing.
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import duckdb
import numpy as np
import polars as pl
from complete_journey import query
from measuring import Cost, measured, report
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import StandardScaler

from cer_assets.segment import SegmentModel, behaviour_features, compare, learn, preference_features, profile
from cer_assets.segment.profiles import Kind

Floats = NDArray[np.float64]
Labels = NDArray[Any]

AS_OF = date(2017, 12, 31)
CUSTOMERS, LINES_A_CUSTOMER = 1_000_000, 20
HIERARCHY_AT_MOST, WARD_AT_MOST = 20_000, 10_000
NO_FACTS = pl.DataFrame(schema={"customer_id": pl.String, "age": pl.String})

KINDS = """
    select * from (values
        (0, 0.5, 3, 10, 0), (1, 0.7, 3, 18, 1), (2, 1.6, 1, 9, 2), (3, 2.2, 2, 17, 3), (4, 0.3, 6, 13, 4),
        (5, 0.7, 2, 20, 5)
    ) as kind (kind, busy, basket, hour, liked)
"""
"""Six kinds of customers: lines against the mean, lines of a basket, usual hour, what is liked."""

LINES = """
    with kind as ({kinds}),
    customer as (
        select
            number,
            k.*,
            hash(number, 1) % 100 / 50.0 + 0.01 as own,
            case when k.kind = 4 then 200 else 364 end as last_day
        from range($customers) as customers (number)
        inner join kind as k on k.kind = hash(number, 0) % 6
    ),
    drawn as (
        select
            c.*,
            nth,
            nth // c.basket as basket_nth,
            hash(c.number, nth, 2) as here,
            hash(c.number, nth // c.basket, 3) as there
        from customer as c
        cross join unnest(range(greatest(1, cast($lines * c.busy * c.own as bigint)))) as lines (nth)
    )
    select
        concat(number, '-', basket_nth) as basket_id,
        nth as line,
        cast(number as varchar) as customer_id,
        cast(null as varchar) as source,
        cast(null as varchar) as source_id,
        concat('p', case when here % 10 < 5 then liked * 100 + here // 10 % 100 else here // 10 % 3000 end)
            as product_id,
        cast(1 as decimal(18, 3)) as quantity,
        cast(0.5 + here // 100000 % 900 / 100.0 as decimal(18, 2)) as amount,
        cast(there % 3 * (here % 7) / 20.0 as decimal(18, 2)) as discount,
        concat('s', case when there % 4 = 0 then there % 40 else number % 40 end) as store_id,
        date '2017-01-01' + cast(there // 7 % last_day as integer)
            + to_hours(cast((hour + there // 11 % 5) % 24 as bigint)) as ordered_at,
        date '2017-01-01' + cast(there // 7 % last_day as integer) as ordered_on,
        true as merchandise
    from drawn
""".replace("{kinds}", KINDS)

PRODUCTS = """
    select
        concat('p', number) as product_id,
        cast(null as varchar) as title,
        cast(null as varchar) as department,
        concat('category ', number // 100) as category,
        cast(null as varchar) as type,
        concat('brand ', number % 7) as brand,
        cast(null as decimal(18, 2)) as price
    from range(3000) as products (number)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=CUSTOMERS)
    parser.add_argument("--lines", type=int, default=LINES_A_CUSTOMER, help="order lines of a customer, on average")
    arguments = parser.parse_args()
    packages = ["duckdb", "polars", "numpy", "scikit-learn"] + (["fastcluster"] if find_spec("fastcluster") else [])
    report("segments", packages, figures(arguments.customers, arguments.lines))


def figures(customers: int, lines: int) -> dict[str, Any]:
    """Seconds of each part, the segments found, and the peers' seconds and agreement."""
    with duckdb.connect(config={"threads": os.cpu_count() or 1}) as con:
        rows = purchases(con, customers, lines)
        costs: dict[str, Cost] = {}
        _, costs["habits and tastes from order lines"] = measured(lambda: count(con))
        habits, tastes = (con.sql(f"from segment.{table}").pl() for table in ("habits", "tastes"))
    made: dict[Kind, Callable[[], pl.DataFrame]] = {
        "behaviour": lambda: behaviour_features(habits),
        "preference": lambda: preference_features(tastes, habits, NO_FACTS),
    }
    found: dict[str, Any] = {}
    peers: dict[str, Any] = {}
    for kind, make in made.items():
        features, costs[f"{kind}: features"] = measured(make)
        models, costs[f"{kind}: both methods, number of segments, names"] = measured(
            partial(learn, kind, features, AS_OF)
        )
        profiles, costs[f"{kind}: everyone assigned, profiles"] = measured(
            partial(profile, models[0], features, habits, tastes, kind)
        )
        again = learn(kind, features, AS_OF)
        found[kind] = {
            "chosen": compare(models, features).to_dicts(),
            "names": profiles["name"].to_list(),
            "same_bytes_on_a_second_run": again[0].files() == models[0].files(),
        }
        peers[kind] = beside(features, models[0])
    segments = [cost for part, cost in costs.items() if part != "habits and tastes from order lines"]
    total = sum(cost.seconds for cost in segments)
    return {
        "data": {"customers": habits.height, "order_lines": rows},
        "ours": {part: asdict(cost) for part, cost in costs.items()},
        "seconds": {
            "segments of both kinds, features to profiles": round(total, 2),
            "the same from order lines": round(total + costs["habits and tastes from order lines"].seconds, 2),
        },
        "segments": found,
        "peers": peers,
    }


def purchases(con: duckdb.DuckDBPyConnection, customers: int, lines: int) -> int:
    """Generate order lines and what stands between them and habits; returns how many lines."""
    for schema in ("customer", "value", "segment", "run"):
        con.execute(f"create schema {schema}")
    con.execute(f"create table customer.order_lines as {LINES}", {"customers": customers, "lines": lines})
    con.execute(f"create table customer.products as {PRODUCTS}")
    con.execute("create table run.days as select ?::date as day", [AS_OF])
    for table in ("customer.orders", "value.purchases", "value.rfm", "segment.assortment"):
        con.execute(f"create table {table} as {query(table)}")
    return con.execute("select count(*) from customer.order_lines").fetchall()[0][0]


def count(con: duckdb.DuckDBPyConnection) -> None:
    """The two tables that features are made of."""
    for table in ("segment.habits", "segment.tastes"):
        con.execute(f"create table {table} as {query(table)}")


def beside(features: pl.DataFrame, model: SegmentModel) -> dict[str, Any]:
    """Peers on the same standardised features and number of segments; hierarchies on the first customers only."""
    ordered = features.sort("customer_id")
    points = StandardScaler().fit_transform(ordered.drop("customer_id").to_numpy())
    ours = model.assign(ordered)["segment"].to_numpy()
    k = model.k
    runs: dict[str, tuple[int, Callable[[Floats], Labels]]] = {
        "scikit-learn KMeans, one k, five starts": (len(points), lambda some: by_k_means(some, k)),
        "scikit-learn Ward": (WARD_AT_MOST, lambda some: by_ward(some, k)),
    }
    if find_spec("fastcluster"):
        runs["fastcluster.linkage_vector, Ward"] = (HIERARCHY_AT_MOST, lambda some: by_fastcluster(some, k))
    results: dict[str, Any] = {}
    for name, (at_most, run) in runs.items():
        some = points[:at_most]
        labels, cost = measured(partial(run, some))
        agreement = adjusted_rand_score(ours[: len(some)], labels)
        results[name] = {"customers": len(some), **asdict(cost), "agreement_with_ours": round(float(agreement), 3)}
    return results


def by_k_means(points: Floats, k: int) -> Labels:
    """The best of five starts."""
    # scikit-learn has no types, so the type of a default is taken for the parameter's.
    return KMeans(k, n_init=5, random_state=0).fit_predict(points)  # pyright: ignore[reportArgumentType]


def by_ward(points: Floats, k: int) -> Labels:
    """In memory that grows with the square of the points."""
    return AgglomerativeClustering(k).fit_predict(points)


def by_fastcluster(points: Floats, k: int) -> Labels:
    """Ward's tree in memory that grows with the points, cut at k."""
    fastcluster: Any = import_module("fastcluster")
    return fcluster(fastcluster.linkage_vector(points, "ward"), k, "maxclust")


if __name__ == "__main__":
    main()
