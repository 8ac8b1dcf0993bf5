"""Answers are foreseen before a campaign begins; next categories are those of the customer's own rhythm."""

import datetime as dt
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

from cer_assets.predict import Predictor, categories, drivers, learn, learn_and_judge, response
from cer_assets.predict.drivers import theme_of
from cer_assets_tests.predict.conftest import AS_OF, FIRST

SQL = Path(__file__).parents[2] / "sql"
Tables = dict[str, pl.DataFrame]
DAY_OF = {"sends": "sent_on", "responses": "responded_on", "days": "ordered_on"}


def known_before(tables: Tables, day: dt.date) -> Tables:
    """The tables as they were known on the eve of a day."""
    return {
        name: frame.filter(pl.col(DAY_OF[name]) < day) if name in DAY_OF else frame for name, frame in tables.items()
    }


def mixed(tables: Tables, seed: int) -> Tables:
    return {name: frame.sample(fraction=1, shuffle=True, seed=seed) for name, frame in tables.items()}


@pytest.fixture(scope="module")
def tables(year: pl.DataFrame) -> Tables:
    """A campaign every month to 120 customers, of whom every fourth likes coupons; the last has not begun."""
    rng = np.random.default_rng(3)
    starts = [FIRST + dt.timedelta(days=30 * month) for month in range(1, 12)] + [AS_OF + dt.timedelta(days=10)]
    sends, answers = [], []
    for number, start in enumerate(starts[:-1]):
        for customer in rng.choice(300, 120, replace=False).tolist():
            sends.append((f"k{number:02}", f"c{customer:03}", start))
            if rng.random() < (0.6 if customer % 4 == 0 else 0.05):
                answers.append((f"k{number:02}", f"c{customer:03}", start + dt.timedelta(days=int(rng.integers(20)))))
    campaigns = [
        (f"k{number:02}", "A" if number % 2 else "B", start, start + dt.timedelta(days=20), "p1")
        for number, start in enumerate(starts)
    ]
    names = ["campaign_id", "customer_id"]
    days = {"as_of": pl.Date, "campaign_id": pl.String, "customer_id": pl.String, "days": pl.Int64}
    paid = dict.fromkeys(response.AMOUNTS, pl.Decimal(18, 2))
    bought = {"products": pl.Int64, **paid, "last_bought_on": pl.Date}
    return {
        "campaigns": pl.DataFrame(
            campaigns, schema=["campaign_id", "kind", "starts_on", "ends_on", "product_id"], orient="row"
        ),
        "sends": pl.DataFrame(sends, schema=[*names, "sent_on"], orient="row"),
        "responses": pl.DataFrame(answers, schema=[*names, "responded_on"], orient="row"),
        "affinity": pl.DataFrame(
            [(AS_OF, "k03", "c004", 2, 1, Decimal(10), Decimal(0), Decimal(10), FIRST)],
            schema=days | bought,
            orient="row",
        ),
        "days": year,
    }


@pytest.fixture(scope="module")
def examples(tables: Tables) -> pl.DataFrame:
    return response.examples(**tables, as_of=AS_OF)


@pytest.fixture(scope="module")
def model(examples: pl.DataFrame) -> Predictor:
    return learn_and_judge(response.QUESTION.model_copy(update={"judged_cuts": 1}), examples, AS_OF)[0]


def test_who_answered_before_is_likelier_to_answer(model: Predictor, tables: Tables) -> None:
    said = model.predict(response.rows(**tables, cut=AS_OF)).drop_nulls("probability")
    assert set(said["campaign_id"]) == {"k11"}
    likes = pl.col("customer_id").str.tail(3).cast(pl.Int64) % 4 == 0
    mean = said.group_by(likes.alias("likes")).agg(pl.col("probability").mean()).sort("likes")["probability"]
    assert mean[1] > 2 * mean[0]
    together = model.evaluation.filter(pl.col("cut").is_null())
    value = {(of, metric): value for metric, of, value in together.select("metric", "of", "value").iter_rows()}
    assert value["response", "auc"] > 0.7
    assert value["response", "brier"] < value["base_rate", "brier"]


def test_an_unsent_campaign_is_judged_for_the_active_and_a_sent_one_for_those_who_got_it(tables: Tables) -> None:
    cut = FIRST + dt.timedelta(days=305)
    rows = response.rows(**tables, cut=cut)
    sent = tables["sends"].filter(pl.col("campaign_id") == "k09")["customer_id"]
    assert set(rows.filter(pl.col("campaign_id") == "k09")["customer_id"]) == set(sent)
    unsent = rows.filter(pl.col("campaign_id") == "k10")
    assert unsent.height > len(sent)
    assert (unsent["recency_days"] <= 56).all()


def test_who_was_sent_a_campaign_after_its_first_day_is_judged_and_learned_from_too(tables: Tables) -> None:
    late = tables | {"sends": tables["sends"].with_columns(pl.col("sent_on") + pl.duration(days=2))}
    for read in (lambda each: response.examples(**each, as_of=AS_OF), lambda each: response.rows(**each, cut=AS_OF)):
        ids = [read(each).select("campaign_id", "customer_id") for each in (tables, late)]
        assert ids[0].height and ids[1].equals(ids[0])


def test_a_campaign_that_nobody_got_teaches_nothing(tables: Tables) -> None:
    unsent = tables | {"sends": tables["sends"].filter(pl.col("campaign_id") != "k03")}
    assert "k03" in response.examples(**tables, as_of=AS_OF)["campaign_id"]
    assert "k03" not in response.examples(**unsent, as_of=AS_OF)["campaign_id"]


def test_rows_from_the_first_day_of_a_campaign_on_change_none_of_its_features(tables: Tables) -> None:
    start = tables["campaigns"].filter(pl.col("campaign_id") == "k08")["starts_on"].item()
    cut = start + dt.timedelta(days=5)
    known = known_before(tables, start) | {"sends": tables["sends"].filter(pl.col("sent_on") <= start)}
    of_start = pl.col("campaign_id") == "k08"
    seen, whole, in_any_order = (
        response.rows(**each, cut=cut).filter(of_start) for each in (known, tables, mixed(tables, 2))
    )
    assert whole.equals(seen)
    assert in_any_order.equals(seen)


def test_answers_to_campaigns_of_the_same_kind_count_apart(tables: Tables) -> None:
    kinds = tables["campaigns"].select("campaign_id", "kind")
    sent, used = (tables[name].join(kinds, on="campaign_id").filter(kind="A") for name in ("sends", "responses"))
    answers, sends = (frame["customer_id"].value_counts().rows_by_key("customer_id") for frame in (used, sent))
    mean = (used.height + 3 * tables["responses"].height / tables["sends"].height) / (sent.height + 3)
    rates = response.rows(**tables, cut=AS_OF).select("customer_id", "response_rate_of_kind").rows()
    for customer, rate in rates[::20]:
        (of,), (to,) = (counts.get(customer, [(0,)])[0] for counts in (answers, sends))
        assert rate == pytest.approx((of + 3 * mean) / (to + 3))


def test_training_reads_nothing_from_its_day_on_and_minds_no_order(tables: Tables) -> None:
    cut = FIRST + dt.timedelta(days=300)
    before = response.examples(**known_before(tables, cut), as_of=cut)
    assert response.examples(**mixed(tables, 4), as_of=cut).equals(before)
    assert (before["known_on"] <= cut).all()


def test_an_answer_after_the_end_of_a_campaign_is_none(tables: Tables, examples: pl.DataFrame) -> None:
    silent = examples.filter(~pl.col("happened"), pl.col("cut") == pl.col("cut").min()).row(0, named=True)
    late = {"campaign_id": silent["campaign_id"], "customer_id": silent["customer_id"]}
    answered = tables["responses"].vstack(pl.DataFrame([late | {"responded_on": silent["known_on"]}]))
    told = response.examples(**tables | {"responses": answered}, as_of=AS_OF)
    assert told["happened"].equals(examples["happened"])
    assert told["responses"].sum() > examples["responses"].sum()


def test_campaigns_that_affinity_no_longer_knows_teach_nothing(tables: Tables) -> None:
    later = AS_OF + dt.timedelta(days=100)
    assert response.examples(**tables, as_of=later)["cut"].min() == FIRST + dt.timedelta(days=120)


def test_without_campaigns_the_reason_is_said(tables: Tables) -> None:
    nothing = {name: frame if name == "days" else frame.clear() for name, frame in tables.items()}
    model, _ = response.fit(**nothing, as_of=AS_OF)
    assert model.reason == "not enough data: 0 past examples, 200 needed"
    assert model.predict(response.rows(**nothing, cut=AS_OF)).is_empty()


def test_effects_of_a_campaign_add_up_too(model: Predictor, tables: Tables) -> None:
    rows = response.rows(**tables, cut=AS_OF)
    odds = drivers(model, rows).group_by("campaign_id", "customer_id").agg(pl.col("effect").sum())
    both = odds.join(model.predict(rows), on=["campaign_id", "customer_id"])
    assert both.select((1 / (1 + (-pl.col("effect")).exp()) - pl.col("probability")).abs().max()).item() < 1e-12


def test_every_feature_has_a_theme() -> None:
    assert {theme_of(name) for name in response.FEATURES} >= {"past campaigns", "kind of campaign", "promoted products"}
    with pytest.raises(LookupError, match="add it to THEMES"):
        theme_of("height")


def test_affinity_ends_before_the_campaign_begins_or_the_day_after() -> None:
    with duckdb.connect(config={"threads": 1}) as con:
        for schema in ("customer", "run"):
            con.execute(f"create schema {schema}")
        con.execute("create table run.days as select date '2024-03-10' as day")
        con.execute("""
            create table customer.campaigns as select * from (values
                ('past', date '2024-03-01', 'p1'), ('ahead', date '2024-04-01', 'p1'), ('far', date '2025-01-01', 'p1')
            ) as t (campaign_id, starts_on, product_id)""")
        con.execute("""
            create table customer.campaign_sends as select * from (values
                ('past', 'a', date '2024-03-01'), ('ahead', 'c', date '2024-03-11')
            ) as t (campaign_id, customer_id, sent_on)""")
        con.execute("""
            create table customer.order_lines as
            select customer_id, 'p1' as product_id, day as ordered_on, 2::decimal(18, 2) as amount, true as merchandise
            from (values ('a', date '2024-02-29'), ('a', date '2024-03-01'), ('b', date '2024-03-10'),
                ('b', date '2024-03-11'), ('b', date '2023-01-01'), ('c', date '2024-01-20')
            ) as t (customer_id, day)""")
        found = con.sql((SQL / "predict" / "campaign_affinity.sql").read_text()).pl().sort("campaign_id", "customer_id")
    assert found.select("campaign_id", "customer_id", "days").rows() == [
        ("ahead", "a", 2),
        ("ahead", "b", 1),
        ("ahead", "c", 1),
        ("past", "a", 1),
    ]
    assert found.select(response.AMOUNTS).rows() == [(4, 4, 4), (2, 2, 2), (2, 0, 2), (2, 2, 2)]


def category_days(seed: int = 0) -> pl.DataFrame:
    """150 customers who buy milk often, tea seldom, and one category of their own in a row that has just ended."""
    rng = np.random.default_rng(seed)
    rows = [
        (f"c{customer:03}", category, AS_OF - dt.timedelta(days=int(age)))
        for customer in range(150)
        for category, gap in (("milk", 5.0), ("tea", 30.0), ("salt", 80.0))
        for age in np.cumsum(rng.exponential(gap, 80) + 1)
        if age < 250
    ]
    return pl.DataFrame(
        rows, schema={"customer_id": pl.String, "category": pl.String, "ordered_on": pl.Date}, orient="row"
    )


def test_the_likeliest_category_is_that_of_the_shortest_rhythm() -> None:
    days = category_days()
    examples = categories.examples(days, AS_OF)
    model = learn(categories.QUESTION, examples, AS_OF)
    said = categories.next_categories(model, days, AS_OF - dt.timedelta(days=1))
    assert dict(said.schema) == categories.COLUMNS
    first = said.filter(pl.col("rank") == 1)
    assert first["customer_id"].n_unique() == first.height > 100
    assert first.filter(pl.col("category") == "milk").height > 0.9 * first.height
    assert said.select((pl.col("probability").diff().over("customer_id") <= 0).all()).item()
    planted = days.with_columns(ordered_on=pl.col("ordered_on") + pl.duration(days=400))
    other = pl.concat([days, planted.filter(pl.col("ordered_on") >= AS_OF)]).sample(fraction=1, shuffle=True, seed=1)
    assert categories.next_categories(model, other, AS_OF - dt.timedelta(days=1)).equals(said)
    assert categories.examples(other, AS_OF).equals(examples)


def test_without_categories_the_reason_is_said() -> None:
    model, _ = categories.fit(category_days().clear(), AS_OF)
    assert model.reason == "not enough data: 0 past examples, 200 needed"
    assert categories.next_categories(model, category_days(), AS_OF).is_empty()
