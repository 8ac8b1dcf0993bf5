"""Every check passes on a sound home, and fails once what it guards against is planted."""

import datetime as dt
from collections.abc import Callable

import dagster as dg
import polars as pl
import pytest

from cer_assets.defs.resources import Home
from cer_assets.value.buckets import migration
from cer_assets_tests.defs.conftest import evaluate

Change = Callable[[pl.DataFrame], pl.DataFrame]


def with_text(column: str, text: str | None, share: float = 1.0) -> Change:
    """The column overwritten in the first rows."""
    rows = pl.int_range(pl.len()) < (pl.len() * share).cast(pl.Int64).clip(1)
    return lambda frame: frame.with_columns(pl.when(rows).then(pl.lit(text)).otherwise(column).alias(column))


def first_row_again(frame: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([frame, frame.tail(1)])


def without_first_row(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.tail(-1)


def worth(column: str, value: float) -> Change:
    return lambda frame: frame.with_columns(pl.lit(value).cast(frame.schema[column]).alias(column))


def busy_last_day(ledger: pl.DataFrame) -> pl.DataFrame:
    last = pl.col("delivered_on") == pl.col("delivered_on").max()
    return ledger.with_columns(accepted=pl.when(last).then(100_000).otherwise("accepted"))


def last_day_without_shops(lines: pl.DataFrame) -> pl.DataFrame:
    last = pl.col("delivered_on") == pl.col("delivered_on").max()
    return lines.with_columns(store_id=pl.when(~last).then("store_id"))


def strangers_with_one_phone(records: pl.DataFrame) -> pl.DataFrame:
    """Everybody has one phone number, and a name and birth date of their own."""
    number = pl.int_range(pl.len())
    letter = pl.lit("abcdefghijklmnopqrstuvwxyz").str.slice(number % 26, 1)
    return records.with_columns(
        phone=pl.lit("+15550001111"),
        given_name=pl.concat_str([letter] * 5),
        surname=pl.concat_str([letter] * 6),
        birth_date=pl.date(1950, 1, 1) + pl.duration(days=number * 37),
    )


def without_half_of_the_pairs(edges: pl.DataFrame) -> pl.DataFrame:
    return edges.sort("record_a", "record_b").filter(pl.int_range(pl.len()) % 2 == 0)


def with_other_segments_the_day_before(segments: pl.DataFrame) -> pl.DataFrame:
    before = segments.with_columns(pl.col("as_of") - pl.duration(days=1), pl.col("segment") + 1)
    return pl.concat([before, segments])


def rows_put_in(*rows: dict[str, object]) -> Change:
    """A table of nothing but these rows, null where nothing is said."""
    return lambda frame: pl.DataFrame(list(rows), schema=frame.schema)


def judged(value: float) -> Change:
    """What a model's Brier score was, beside a base rate of .1."""
    of = {"as_of": dt.date(2017, 12, 31), "model": "churn", "horizon_days": 28, "metric": "brier"}
    return rows_put_in(of | {"of": "churn", "value": value}, of | {"of": "base_rate", "value": 0.1})


def everybody_withdraws(consents: pl.DataFrame) -> pl.DataFrame:
    return consents.with_columns(granted=pl.lit(False), purpose=pl.lit("personalisation"))


def with_a_leak(leaks: pl.DataFrame) -> pl.DataFrame:
    return leaks.with_columns(rows=pl.int_range(pl.len()).cast(pl.Int64))


def with_popularity_worth(value: float) -> Change:
    return lambda frame: frame.with_columns(
        value=pl.when(pl.col("model") == "popularity").then(value).otherwise("value")
    )


def popularity_promoted(decisions: pl.DataFrame) -> pl.DataFrame:
    return decisions.with_columns(champion=pl.lit("popularity"), promoted=pl.lit(True))


NEWEST = dt.date(2017, 12, 31)
PLANTED: list[tuple[str, str, str, Change]] = [
    ("raw/transactions", "every_file_read", "raw.deliveries", with_text("refused", "raw/t/file.csv: it is empty")),
    ("raw/transactions", "nothing_lost", "raw.transactions", without_first_row),
    ("raw/transactions", "keys_once", "raw.transactions", first_row_again),
    ("raw/transactions", "little_rejected", "raw.deliveries", worth("rejected", 1000)),
    ("raw/transactions", "usual_volume", "raw.deliveries", busy_last_day),
    ("raw/transactions", "usual_gaps", "raw.transactions", last_day_without_shops),
    ("raw/crm_customers", "nothing_lost", "raw.crm_customers", without_first_row),
    ("raw/crm_customers", "keys_once", "raw.crm_customers", first_row_again),
    ("identity/records", "record_once", "identity.records", first_row_again),
    ("identity/records", "records_can_be_compared", "identity.records", with_text("surname", None, 0.5)),
    ("identity/links", "every_record_once", "identity.links", without_first_row),
    ("identity/links", "size_cap", "identity.links", with_text("customer_id", "one and the same", 0.5)),
    ("identity/links", "shared_home", "identity.records", strangers_with_one_phone),
    ("identity/links", "junk_contact", "identity.links", with_text("customer_id", "one and the same", 0.1)),
    ("identity/links", "bridge", "identity.edges", without_half_of_the_pairs),
    ("identity/links", "customer_jump", "identity.links", lambda f: f.with_columns(customer_id="record_id")),
    ("identity/links", "ids_changed", "identity.links", lambda f: f.with_columns(customer_id="record_id")),
    ("identity/links", "confident", "identity.links", worth("confidence", 0.1)),
    ("identity/labels", "both_answers", "identity.labels", with_text("answer", "unsure")),
    ("identity/customers", "one_row_a_customer", "identity.customers", without_first_row),
    ("identity/customers", "values_have_an_origin", "identity.customers", with_text("email_record", "nobody", 0.5)),
    ("identity/households", "every_customer_once", "identity.households", without_first_row),
    ("identity/households", "no_giant", "identity.households", with_text("household_id", "one and the same", 0.5)),
    ("identity/households", "few_by_contact_alone", "identity.households", with_text("why", "contact")),
    ("identity/evaluation", "pairwise_f1", "identity.evaluation", worth("value", 0.5)),
    ("customer/order_lines", "amount_conserved", "customer.order_lines", without_first_row),
    ("customer/order_lines", "lines_conserved", "customer.order_lines", first_row_again),
    ("customer/order_lines", "payers_conserved", "customer.order_lines", with_text("customer_id", None, 0.5)),
    ("customer/orders", "baskets_conserved", "customer.orders", first_row_again),
    ("customer/orders", "amount_conserved", "customer.orders", without_first_row),
    ("customer/orders", "payer_known", "customer.orders", with_text("customer_id", None, 0.5)),
    ("customer/products", "catalogue_covers_sales", "customer.products", lambda frame: frame.clear()),
    ("customer/products", "product_once", "customer.products", first_row_again),
    ("value/purchases", "agrees_with_orders", "value.purchases", without_first_row),
    ("value/rfm", "spend_conserved", "value.rfm", worth("monetary", 1)),
    ("value/clv", "figure_or_reason", "value.clv", with_text("reason", "planted")),
    (
        "value/clv",
        "most_have_a_figure",
        "value.clv",
        lambda frame: frame.with_columns(expected_spend=pl.lit(None, pl.Float64)),
    ),
    ("value/buckets", "ordered_by_mean", "value.buckets", lambda frame: frame.with_columns(value=-pl.col("value"))),
    ("value/buckets", "every_customer_once", "value.buckets", without_first_row),
    ("value/rfm_history", "every_customer_once", "value.rfm_history", lambda f: f.sort("as_of", "period").head(-1)),
    ("segment/behaviour", "everyone_in_one_segment", "segment.behaviour", without_first_row),
    ("segment/preference", "everyone_in_one_segment", "segment.preference", first_row_again),
    ("segment/behaviour", "same_as_before", "segment.behaviour", with_other_segments_the_day_before),
    ("segment/preference", "same_as_before", "segment.preference", with_other_segments_the_day_before),
    ("segment/profiles", "no_splinter", "segment.profiles", worth("share", 0.01)),
    ("segment/profiles", "names_differ", "segment.profiles", with_text("name", "all alike")),
    ("predict/churn", "probability_or_reason", "predict.churn", worth("probability", 1.5)),
    (
        "predict/churn",
        "most_active_customers_have_a_figure",
        "predict.churn",
        lambda frame: frame.with_columns(probability=pl.lit(None, pl.Float64)),
    ),
    ("predict/purchase", "probability_or_reason", "predict.purchase", worth("probability", 1.5)),
    (
        "predict/response",
        "probability_or_reason",
        "predict.response",
        rows_put_in({"as_of": NEWEST, "campaign_id": "k", "customer_id": "c"}),
    ),
    (
        "predict/drivers",
        "effects_add_up",
        "predict.drivers",
        rows_put_in(
            {"as_of": NEWEST, "model": "churn", "horizon_days": 28, "customer_id": "one and the same", "effect": 1.0}
        ),
    ),
    (
        "predict/drift",
        "customers_are_those_learned_from",
        "predict.drift",
        rows_put_in({"as_of": NEWEST, "model": "churn", "horizon_days": 28, "feature": "recency_days", "psi": 0.3}),
    ),
    ("predict/evaluation", "better_than_the_base_rate", "predict.evaluation", judged(0.11)),
    (
        "predict/calibration",
        "keeps_its_word",
        "predict.calibration",
        rows_put_in({"as_of": NEWEST, "model": "churn", "predicted": 0.9, "observed": 0.1, "customers": 9}),
    ),
    (
        "predict/next_categories",
        "ranked_by_probability",
        "predict.next_categories",
        rows_put_in(
            {"as_of": NEWEST, "customer_id": "c", "rank": 1, "probability": 0.1},
            {"as_of": NEWEST, "customer_id": "c", "rank": 2, "probability": 0.2},
        ),
    ),
    (
        "recommend/recommendations",
        "only_what_can_be_bought",
        "customer.products",
        lambda f: f.with_columns(available=False),
    ),
    ("recommend/recommendations", "nobody_who_withdrew", "raw.consents", everybody_withdraws),
    ("recommend/recommendations", "every_product_has_a_reason", "recommend.recommendations", with_text("reason", "")),
    ("recommend/moments", "every_moment_has_a_list", "recommend.moments", lambda f: f.filter(pl.col("weekday") < 7)),
    ("recommend/leaks", "nothing_was_known_before", "recommend.leaks", with_a_leak),
    ("recommend/recommendations", "no_product_twice", "recommend.recommendations", first_row_again),
    ("recommend/recommendations", "nearly_everyone_has_a_list", "recommend.recommendations", lambda f: f.head(20)),
    ("recommend/evaluation", "better_than_popularity", "recommend.evaluation", with_popularity_worth(0.9)),
    ("recommend/evaluation", "not_worse_than_own_favourites", "recommend.decisions", popularity_promoted),
    (
        "insight/resolution",
        "resolution_pays",
        "insight.resolution",
        lambda f: f.with_columns(value=pl.when(pl.col("view") == "resolved").then(9.0).otherwise("value")),
    ),
    ("insight/report", "names_nobody", "identity.customers", with_text("email", "Customers")),
]


# Two months of 200 households are too little for these: what a larger home would show is put there first.
THIN: dict[tuple[str, str], tuple[str, Change]] = {
    ("identity/links", "junk_contact"): ("identity.records", strangers_with_one_phone),
    ("predict/churn", "most_active_customers_have_a_figure"): ("predict.churn", worth("probability", 0.5)),
    ("predict/drivers", "effects_add_up"): (
        "predict.churn",
        lambda frame: worth("probability", 0.5)(with_text("customer_id", "one and the same")(frame)),
    ),
    ("predict/evaluation", "better_than_the_base_rate"): ("predict.evaluation", judged(0.09)),
}


def planted(home: Home, table: str, change: Change) -> None:
    """Publish the changed table, laid out as it was."""
    layout = home.lake.open(table).metadata().partition_columns
    home.lake.publish(table, change(home.lake.scan(table).collect()), partition_by=layout[0] if layout else None)


@pytest.mark.parametrize(("asset", "name", "table", "change"), PLANTED, ids=[f"{a}:{n}" for a, n, _, _ in PLANTED])
def test_a_check_fails_once_its_fault_is_planted(
    project: dg.Definitions, broken_home: Home, asset: str, name: str, table: str, change: Change
) -> None:
    if (asset, name) in THIN:
        planted(broken_home, *THIN[asset, name])
    assert evaluate(project, broken_home, asset, name).passed
    planted(broken_home, table, change)
    failed = evaluate(project, broken_home, asset, name)
    assert not failed.passed
    assert failed.metadata


def test_every_check_of_the_project_is_planted_or_named_here(project: dg.Definitions) -> None:
    elsewhere = {
        ("value/rfm", "scores_follow_measures"),
        ("value/buckets", "few_move_without_cause"),
        ("value/migration", "sums_to_population"),
        ("insight/snapshot", "names_every_table"),
        ("identity/links", "id_churn"),
        ("erasure/suppressed", "no_request_waits"),
        *(
            ("erasure/receipts", name)
            for name in ("nobody_erased_is_left", "receipts_add_up", "every_file_was_looked_into")
        ),
        *((f"predict/{name}_model", "trained_or_says_why") for name in ("churn", "purchase", "category", "response")),
        ("segment/behaviour_model", "stable"),
        ("segment/preference_model", "stable"),
    }
    every = {(k.asset_key.to_user_string(), k.name) for c in project.asset_checks or [] for k in c.check_keys}
    of_feeds = {(a, n) for a, n in every if a.startswith("raw/") and a not in ("raw/transactions", "raw/crm_customers")}
    alike = ("little_rejected", "every_file_read", "usual_volume", "usual_gaps")
    shared = {("raw/crm_customers", name) for name in alike}
    assert every - of_feeds - shared - {(a, n) for a, n, _, _ in PLANTED} == elsewhere


def test_customers_of_equal_recency_with_two_scores_are_found(project: dg.Definitions, broken_home: Home) -> None:
    rfm = broken_home.lake.scan("value.rfm").collect()
    changed = rfm.with_columns(recency_days=pl.lit(1, pl.Int64))
    broken_home.lake.publish("value.rfm", changed, partition_by="as_of")
    assert not evaluate(project, broken_home, "value/rfm", "scores_follow_measures").passed


def test_customers_who_move_without_a_cause_or_are_miscounted_are_found(
    project: dg.Definitions, broken_home: Home
) -> None:
    buckets = broken_home.lake.scan("value.buckets").collect()
    before = buckets.with_columns(pl.col("as_of").dt.offset_by("-1d"))
    moves = migration(before, buckets)
    broken_home.lake.publish("value.buckets", pl.concat([before, buckets]), partition_by="as_of")
    broken_home.lake.publish("value.migration", moves, partition_by="as_of")
    assert evaluate(project, broken_home, "value/migration", "sums_to_population").passed
    assert evaluate(project, broken_home, "value/buckets", "few_move_without_cause").passed
    broken_home.lake.publish("value.migration", moves.head(-1), partition_by="as_of")
    assert not evaluate(project, broken_home, "value/migration", "sums_to_population").passed
    elsewhere = before.with_columns(bucket=pl.lit("low"))
    broken_home.lake.publish("value.buckets", pl.concat([elsewhere, buckets]), partition_by="as_of")
    assert not evaluate(project, broken_home, "value/buckets", "few_move_without_cause").passed


def test_a_table_that_the_snapshot_does_not_name_is_found(project: dg.Definitions, broken_home: Home) -> None:
    assert evaluate(project, broken_home, "insight/snapshot", "names_every_table").passed
    broken_home.lake.publish("value.forgotten", pl.DataFrame({"x": [1]}))
    assert not evaluate(project, broken_home, "insight/snapshot", "names_every_table").passed


def test_dates_of_the_sample_are_where_the_grid_expects_them(project: dg.Definitions) -> None:
    assert (
        dt.date(2018, 1, 31).isoformat()
        in project.resolve_asset_graph().get(dg.AssetKey(["raw", "transactions"])).partitions_def.get_partition_keys()
    )
