"""What a customer is shown who has no history, has looked at three products, has bought ten: the lists, to be read.

Complete Journey, as of the eve of 2017-12-04. Prints text and measures nothing.
"""

import argparse
from datetime import date, datetime, time, timedelta

import complete_journey
import polars as pl
from bench_recommend import CUT

from cer_assets.recommend import Context, Interactions, all_families, interactions, learn_rhythm, rank
from cer_assets.recommend.families.content import Content
from cer_assets.recommend.hybrid import Hybrid, Ranker, RankerSettings, learn
from cer_assets.recommend.model import Recommender
from cer_assets.recommend.rank import UNKNOWN

EVE = CUT - timedelta(days=1)
PURCHASES = 10
LOOKER, BUYER = "looked at three products", "bought ten products"
LOOKED_AT = ("GROUND COFFEE", "BABY DIAPERS", "DOG TREATS (SOFT TREATS)")
"""Types; the product of each that most people bought is the one looked at."""
MOMENTS = {"Saturday morning": Context(hour=9, weekday=6), "Friday evening": Context(hour=19, weekday=5)}


def main() -> None:
    """Print the lists."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--household", default="1", help="whose latest purchases stand for a customer's first ten")
    parser.add_argument("--learn", action="store_true", help="learn the ranking of candidates too, which takes minutes")
    arguments = parser.parse_args()
    lines, products = complete_journey.order_lines(), complete_journey.catalogue()
    lines = with_few_purchases(lines, arguments.household)
    events = looked(lines, products)

    def before(cut: date) -> Interactions:
        return interactions(lines, cut, events=events, products=None)

    history = before(CUT)
    ranker = learn(before, lines, products, CUT, RankerSettings()) if arguments.learn else None
    model = fitted(history, products, ranker)
    rhythm = learn_rhythm(interactions(lines, CUT, 1), products, CUT)
    names = products.select("product_id", shown=pl.concat_str("title", "size", separator=", ", ignore_nulls=True))
    show("What was bought", bought(lines, names))
    show("What was looked at", events.join(names, on="product_id").select("occurred_at", "kind", "shown"))
    lists = rank(model, pl.Series([LOOKER, BUYER]), products, EVE, rhythm=rhythm)
    for customer in (UNKNOWN, LOOKER, BUYER):
        show(customer, read(lists.filter(pl.col("customer_id") == customer), names))
    nobody = pl.Series("customer_id", [], dtype=pl.String)
    for moment, context in MOMENTS.items():
        stranger = rank(model, nobody, products, EVE, rhythm=rhythm, context=context)
        show(f"{UNKNOWN}, {moment}", read(stranger, names))


def fitted(history: Interactions, products: pl.DataFrame, ranker: Ranker | None) -> Recommender:
    """The ranking over all families; without a ranker, over those that it weighs."""
    weighed = {Content().name, *Hybrid().settings.weights}
    chosen = {name: model for name, model in all_families().items() if ranker is not None or name in weighed}
    return Hybrid(ranker, families=lambda: chosen).fit(history, products, CUT)


def with_few_purchases(lines: pl.DataFrame, household: str) -> pl.DataFrame:
    """Lines where a household is a customer of no more than its latest ten products, under another id."""
    own = lines.filter(pl.col("customer_id") == household, pl.col("merchandise"), pl.col("ordered_on") < CUT)
    latest = own.sort("ordered_at", "product_id").unique("product_id", keep="last", maintain_order=True)
    few = latest.tail(PURCHASES).with_columns(customer_id=pl.lit(BUYER))
    return pl.concat([lines.filter(pl.col("customer_id") != household), few])


def looked(lines: pl.DataFrame, products: pl.DataFrame) -> pl.DataFrame:
    """A view of the most bought product of each of LOOKED_AT on the eve."""
    sold = lines.filter(pl.col("ordered_on") < CUT).join(products, on="product_id").group_by("type", "product_id")
    most = sold.agg(buyers=pl.col("customer_id").n_unique()).sort("buyers", "product_id", descending=[True, False])
    seen = most.filter(pl.col("type").is_in(LOOKED_AT)).unique("type", keep="first", maintain_order=True).sort("type")
    return seen.select(
        "product_id",
        customer_id=pl.lit(LOOKER),
        kind=pl.lit("view"),
        occurred_at=pl.lit(datetime.combine(EVE, time(20))),
    )


def bought(lines: pl.DataFrame, names: pl.DataFrame) -> pl.DataFrame:
    """The few purchases, by day."""
    own = lines.filter(pl.col("customer_id") == BUYER).join(names, on="product_id")
    return own.select("ordered_on", "shown").sort("ordered_on", "shown")


def read(lists: pl.DataFrame, names: pl.DataFrame) -> pl.DataFrame:
    """A list as a shopper sees it."""
    return lists.join(names, on="product_id").sort("rank").select("rank", "shown", "reason", "source")


def show(heading: str, rows: pl.DataFrame) -> None:
    """Print rows under a heading."""
    print(f"\n{heading}")
    with pl.Config(tbl_rows=-1, fmt_str_lengths=90, tbl_width_chars=220, tbl_hide_dataframe_shape=True):
        print(rows)


if __name__ == "__main__":
    main()
