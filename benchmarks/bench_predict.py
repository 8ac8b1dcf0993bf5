"""Churn, purchase, response and next category on time they never saw, beside recency, BG/NBD and simple rates.

Complete Journey, one household one customer, as of 2018-01-01. Every figure is of models learned anew at each cut from
what was known by then. With `--customers N` the cost of a day over N copied customers is measured instead.

`response, fixed split` is for comparison with published figures, which learn once, from the campaigns that started
before 2017-10-01, and judge those that started from then to 2017-12-20, all together. It differs from `response`, which
is the stricter: the campaigns learned from had started by the day of the split but not all had ended, so that answers
of later weeks are learned from; and of the campaigns judged three had not ended when the records do, so that later
answers to them count as none. The features end before each campaign's first day either way.
"""

import argparse
from collections.abc import Callable
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any

import complete_journey
import polars as pl
from measuring import measured, report, report_skipped

from cer_assets.predict import (
    CHURN,
    PURCHASE,
    Buying,
    Predictor,
    buying,
    categories,
    drivers,
    learn_and_judge,
    response,
    said_of,
)
from cer_assets.predict.evaluate import evaluation
from cer_assets.sample.journey import Journey, read_journey

AS_OF = date(2018, 1, 1)
SPLIT = date(2017, 10, 1)
"""Campaigns that start earlier are learned from, later ones judged, in the fixed split."""
JUDGED_UNTIL = date(2017, 12, 20)
"""First day of the campaigns that the fixed split does not judge any more."""
ALL_ENDED = date(2018, 3, 1)
"""By then every campaign had ended, though the records end sooner."""
BOTH: tuple[Buying, ...] = (*CHURN, *PURCHASE)
TEXT = pl.String


def main() -> None:
    """Measure and print."""
    if not complete_journey.is_installed():
        report_skipped("predict", complete_journey.ABSENT)
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, help="measure the cost of a day over so many copied customers")
    customers = parser.parse_args().customers
    packages = ["scikit-learn", "polars", complete_journey.PACKAGE]
    tables = load()
    report("predict", packages, figures(tables) if customers is None else cost_of_a_day(tables["days"], customers))


def figures(tables: dict[str, pl.DataFrame]) -> dict[str, Any]:
    """Quality of every model, with what training and judging took."""
    of: dict[str, Callable[[], tuple[Predictor, pl.DataFrame]]] = {
        **{f"{asked.outcome} {asked.horizon_days} days": lambda asked=asked: fitted(tables, asked) for asked in BOTH},
        "response": lambda: response.fit(**campaign_inputs(tables), as_of=AS_OF),
        "category 7 days": lambda: categories.fit(tables["category_days"], AS_OF),
    }
    return {name: quality(*measured(fit)) for name, fit in of.items()} | {"response, fixed split": fixed_split(tables)}


def fixed_split(tables: dict[str, pl.DataFrame]) -> dict[str, Any]:
    """Answers to the campaigns of autumn, foreseen by one model of the campaigns before; value and 95 % interval."""
    examples = response.examples(**campaign_inputs(tables), as_of=ALL_ENDED)
    before, later = (
        examples.filter(pl.col("cut").is_between(first, last, closed="left"))
        for first, last in ((date.min, SPLIT), (SPLIT, JUDGED_UNTIL))
    )
    held_out = said_of(response.QUESTION, before, later, ALL_ENDED)
    judged = evaluation(held_out, response.QUESTION.model, None, JUDGED_UNTIL).filter(pl.col("cut").is_null())
    return {
        "learned from": before.height,
        "judged on": held_out.height,
        "campaigns": held_out["campaign_id"].n_unique(),
        "held out": figures_of(judged)["all cuts"],
    }


def campaign_inputs(tables: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """What `response` reads."""
    return {name: tables[name] for name in ("campaigns", "sends", "responses", "affinity", "days")}


def fitted(tables: dict[str, pl.DataFrame], asked: Buying) -> tuple[Predictor, pl.DataFrame]:
    """One outcome, learned and judged."""
    (one,) = buying.fit(tables["days"], AS_OF, [asked])
    return one


def quality(fit: tuple[Predictor, pl.DataFrame], cost: Any) -> dict[str, Any]:
    """Each metric of the model and its baselines, at each cut and over all, as value and 95 % interval."""
    model, held_out = fit
    calibration = model.calibration.select("predicted", "observed", "customers")
    return {
        "learned from": model.examples,
        "judged on": held_out.height,
        "held out": figures_of(model.evaluation),
        "calibration": [[round(p, 4), round(o, 4), n] for p, o, n in calibration.iter_rows()],
        "training and judging": asdict(cost),
    }


def figures_of(judged: pl.DataFrame) -> dict[str, Any]:
    """Rows of `predict.evaluation` by cut, model and metric."""
    rows = judged.with_columns(at=pl.col("cut").cast(pl.String).fill_null("all cuts"))
    shown: dict[str, Any] = {}
    for at, of, metric, *interval in rows.select("at", "of", "metric", "value", "low", "high").iter_rows():
        shown.setdefault(at, {}).setdefault(of, {})[metric] = [round(figure, 4) for figure in interval]
    return shown


def cost_of_a_day(days: pl.DataFrame, customers: int) -> dict[str, Any]:
    """What it takes to train and to judge copies of the households until there are so many."""
    real = days["customer_id"].n_unique()
    copies = pl.DataFrame({"copy": pl.int_range(-(-customers // real), eager=True)})
    # Spread as hashes are, so that a sample of ids is one of all households.
    name = (pl.col("customer_id") + "-" + pl.col("copy").cast(TEXT)).hash(0).cast(TEXT)
    many = days.join(copies, how="cross").with_columns(customer_id=name).drop("copy")
    asked = CHURN[0]
    (examples, as_of, facts), preparing = measured(lambda: buying.examples(many, asked, AS_OF))
    (model, _), training = measured(lambda: learn_and_judge(asked.question, examples, as_of, facts))
    rows, features = measured(lambda: buying.rows(many, AS_OF, asked, model.facts))
    said, judging = measured(lambda: model.predict(rows))
    told, explaining = measured(lambda: drivers(model, rows))
    return {
        "customers": many["customer_id"].n_unique(),
        "purchase days": many.height,
        "rows judged": said["probability"].drop_nulls().len(),
        "rows of drivers": told.height,
        "examples": asdict(preparing),
        "training and judging": asdict(training),
        "features of a day": asdict(features),
        "figures of a day": asdict(judging),
        "drivers of a day": asdict(explaining),
    }


def load() -> dict[str, pl.DataFrame]:
    """The tables that predictions read, computed by the project's own SQL."""
    journey = read_journey()
    given = campaign_tables(journey)
    with complete_journey.connect(complete_journey.order_lines()) as con:
        con.execute("create schema predict")
        for name, frame in given.items():
            con.register("given", frame)
            con.execute(f"create table customer.{name} as from given")
            con.unregister("given")
        con.execute("create table run.days as select ?::date as day", [AS_OF - timedelta(days=1)])
        made = {
            name: con.sql(complete_journey.query(f"predict.{table}")).pl()
            for name, table in (
                ("days", "purchase_days"),
                ("category_days", "category_days"),
                ("affinity", "campaign_affinity"),
            )
        }
    renamed = {"campaigns": "campaigns", "campaign_sends": "sends", "campaign_responses": "responses"}
    return made | {short: given[name] for name, short in renamed.items()}


def campaign_tables(journey: Journey) -> dict[str, pl.DataFrame]:
    """Products, campaigns, sends and responses as the customer stage would have them."""
    campaign = pl.col("campaign_id").cast(TEXT)
    customer = pl.col("original").cast(TEXT).alias("customer_id")
    begun = journey.campaigns.select("campaign_id", sent_on="start_date")
    return {
        "products": journey.products.select(product_id=pl.col("product").cast(TEXT), category="product_category"),
        "campaigns": journey.campaigns.join(journey.coupons, on="campaign_id").select(
            campaign,
            kind="campaign_type",
            starts_on="start_date",
            ends_on="end_date",
            product_id=pl.col("product_id").cast(TEXT),
        ),
        "campaign_sends": journey.sends.join(begun, on="campaign_id").select(campaign, customer, "sent_on"),
        "campaign_responses": journey.redemptions.select(campaign, customer, responded_on="day"),
    }


if __name__ == "__main__":
    main()
