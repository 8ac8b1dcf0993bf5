"""What each answer to a question would change: customers, their value, their consents, their households.

Nothing is asked or resolved here: a question's customers are clustered again by themselves as if its answer held.
"""

import polars as pl

from cer_assets.identity.cluster import MILLION, average_linkage
from cer_assets.identity.ids import assign_ids
from cer_assets.identity.resolve import GROUP_CAP
from cer_assets.lake import UNBOUNDED, Memory, bounded
from cer_assets.value.buckets import BUCKETS

IMPACT = pl.Schema(
    {
        "record_a": pl.String,
        "record_b": pl.String,
        "answer": pl.String,
        "effect": pl.String,
        "customers_before": pl.String,
        "customers_after": pl.String,
        "records_before": pl.String,
        "records_after": pl.String,
        "records_moved": pl.Int64,
        "spend_before": pl.String,
        "spend_after": pl.String,
        "buckets_before": pl.String,
        "buckets_after": pl.String,
        "bucket_changes": pl.Boolean,
        "consents_in_conflict": pl.String,
        "consents_settled": pl.String,
        "households": pl.String,
        "sentence": pl.String,
    }
)

BINDS = 1_000_000
"""An answer counts as so many pairs that are wholly sure: no mean score of a group stands against it."""

NEW = "new"
"""Stands for an id that only a run can give."""

_ANSWERS = {"match": True, "distinct": False}
_MONEY = pl.Decimal(18, 2)


def what_answers_change(
    questions: pl.DataFrame,
    links: pl.DataFrame,
    edges: pl.DataFrame,
    cut: float,
    orders: pl.DataFrame | None = None,
    buckets: pl.DataFrame | None = None,
    consents: pl.DataFrame | None = None,
    households: pl.DataFrame | None = None,
    constraints: pl.DataFrame | None = None,
    memory: Memory = UNBOUNDED,
) -> pl.DataFrame:
    """What would follow if a question were answered match, and if it were answered distinct, and the answer held.

    The records of the question's one or two customers are clustered again with the answer and the `constraints` above
    all scores; other customers are taken to stay as they are. Ids go by the largest overlap, as in every run.

    Args:
        questions: record_a, record_b, once each; pairs with a record that is linked nowhere are left out.
        links: record_id, customer_id.
        edges: record_a, record_b, score.
        cut: the model's.
        orders: `customer.orders`: source, source_id, merchandise_amount; what each record paid.
        buckets: `value.buckets`, of which the newest day counts: as_of, customer_id, bucket, value. A value goes with
            the records that paid: after a split each part has the share of what was spent under its records (evenly
            by record where nothing was), after a merge the sum. The bounds between buckets stay.
        consents: `raw.consents`: source, source_id, purpose, granted, at; of a record and purpose the newest counts,
            and where two are equally new, the withdrawn one.
        households: `identity.households`: customer_id, household_id.
        constraints: record_a, record_b, answer (must_link, cannot_link).
        memory: what giving ids may hold.

    Returns:
        Two rows a question: record_a < record_b, answer (match, distinct), effect (merge, split, regroup: neither
        alone, none), and as lists in words, customer by customer, the largest first: customers, records, spend (money)
        and buckets, before and after (`new` for an id that the run will give, `-` for a customer without a bucket);
        records_moved (records whose customer would be another), bucket_changes (whether any of them would be in
        another bucket), consents_in_conflict (purposes that one record of a customer granted and another withdrew,
        and that were in no conflict before), consents_settled (those in conflict before and not after), households
        (same or different, where two customers are concerned), and a sentence that says it all; ordered by pair and
        answer. What was not handed in is null. No personal value is in it.
    """
    asked = _asked(questions, links)
    members = _members(asked, links)
    after = _after(asked, members, edges, constraints, cut, memory)
    worth = _worth(members, links, orders, buckets)
    facts = after.join(worth, on="record_id", how="left")
    bounds = _bounds(buckets)
    before = _customers(facts, "before", bounds)
    then = _customers(facts, "after", bounds)
    rows = (
        asked.join(_listed(before, "before"), on="case", how="left")
        .join(_listed(then, "after"), on="case", how="left")
        .join(_moved(facts, bounds), on="case", how="left")
        .join(_conflicts(after, consents), on="case", how="left")
        .join(_homes(asked, households), on="case", how="left")
        .with_columns(effect=_effect())
    )
    told = {
        "spend_before": orders,
        "spend_after": orders,
        "buckets_before": buckets,
        "buckets_after": buckets,
        "bucket_changes": buckets,
        "consents_in_conflict": consents,
        "consents_settled": consents,
    }
    unknown = [pl.lit(None, IMPACT[name]).alias(name) for name, given in told.items() if given is None]
    return rows.with_columns(unknown).with_columns(sentence=_sentence()).sort("case").select(IMPACT.names())


def _asked(questions: pl.DataFrame, links: pl.DataFrame) -> pl.DataFrame:
    """Each question with each answer as a case: case, record_a, record_b, answer, customer_a, customer_b."""
    one, other = (links.select(record_id="record_id", **{f"customer_{side}": "customer_id"}) for side in "ab")
    return (
        questions.select(
            record_a=pl.min_horizontal("record_a", "record_b"), record_b=pl.max_horizontal("record_a", "record_b")
        )
        .unique()
        .join(one, left_on="record_a", right_on="record_id")
        .join(other, left_on="record_b", right_on="record_id")
        .join(pl.DataFrame({"answer": list(_ANSWERS)}), how="cross")
        .sort("record_a", "record_b", pl.col("answer") != "match")
        .with_row_index("case")
        .with_columns(pl.col("case").cast(pl.Int64))
    )


def _members(asked: pl.DataFrame, links: pl.DataFrame) -> pl.DataFrame:
    """The records of each case's customers: case, place (numbers all rows), record_id, before."""
    customers = pl.concat(
        [asked.select("case", customer_id="customer_a"), asked.select("case", customer_id="customer_b")]
    ).unique()
    return (
        links.select("record_id", "customer_id")
        .join(customers, on="customer_id")
        .sort("case", "record_id")
        .select("case", pl.int_range(pl.len(), dtype=pl.Int64).alias("place"), "record_id", before="customer_id")
    )


def _after(
    asked: pl.DataFrame,
    members: pl.DataFrame,
    edges: pl.DataFrame,
    constraints: pl.DataFrame | None,
    cut: float,
    memory: Memory,
) -> pl.DataFrame:
    """The members with the customer each would have: `after`, an old id or `new` and a number."""
    changing = asked.filter((pl.col("customer_a") == pl.col("customer_b")) != (pl.col("answer") == "match"))
    open_cases = members.join(changing, on="case", how="semi")
    scored = _pairs_of_cases(open_cases, edges, changing, constraints)
    first, second, score = (scored[name].to_numpy() for name in ("first", "second", "score"))
    group = average_linkage(first, second, score, len(members), round(cut * MILLION), GROUP_CAP)
    named = members.with_columns(group=pl.Series(group, dtype=pl.Int64)).join(open_cases, on="place", how="semi")
    again = named.select("place", renamed=_ids(named, memory))
    return (
        members.join(again, on="place", how="left")
        .with_columns(after=pl.coalesce("renamed", "before"))
        .drop("renamed")
        .sort("place")
    )


def _pairs_of_cases(
    members: pl.DataFrame, edges: pl.DataFrame, cases: pl.DataFrame, constraints: pl.DataFrame | None
) -> pl.DataFrame:
    """Scored pairs within each case: first < second (places), score in millionths, beyond all bounds where it binds."""
    held = pl.DataFrame(schema={"record_a": pl.String, "record_b": pl.String, "answer": pl.String})
    if constraints is not None:
        held = constraints.select(held.columns)
    sure = BINDS * MILLION
    bound = held.select(
        "record_a", "record_b", score=pl.when(pl.col("answer") == "must_link").then(sure).otherwise(-sure)
    )
    scored = edges.select("record_a", "record_b", score=(pl.col("score") * MILLION).round().cast(pl.Int64))
    said = cases.select(
        "case", "record_a", "record_b", score=pl.when(pl.col("answer") == "match").then(sure).otherwise(-sure)
    )
    place = members.select("case", "record_id", "place")

    def placed(pairs: pl.DataFrame, on: list[str]) -> pl.DataFrame:
        one = pairs.join(place, left_on=[*on, "record_a"], right_on=[*on, "record_id"])
        # The other record's place within the same case.
        return one.join(place, left_on=["case", "record_b"], right_on=["case", "record_id"], suffix="_b").select(
            first=pl.min_horizontal("place", "place_b"),
            second=pl.max_horizontal("place", "place_b"),
            score=pl.col("score").cast(pl.Int64),
        )

    return (
        pl.concat([placed(said, ["case"]), placed(bound, []), placed(scored, [])])
        .unique(["first", "second"], keep="first", maintain_order=True)
        .sort("first", "second")
    )


def _ids(named: pl.DataFrame, memory: Memory) -> pl.Series:
    """The id of each row's group by the rule of every run, each case by itself; a new one is `new` and a number."""
    # Ids and records carry their case, so that one customer in two cases is two.
    own = named.select(
        "group",
        record_id=pl.format("{}|{}", "case", "record_id"),
        customer_id=pl.format("{}|{}", "case", "before"),
    )
    with bounded(memory) as connection:
        found, _ = assign_ids(own.select("record_id", "group"), own.select("record_id", "customer_id"), "", connection)
    given = own.select("record_id", "customer_id").join(
        found.select("record_id", after="customer_id"), on="record_id", maintain_order="left"
    )
    kept = own["customer_id"].unique().implode()
    old = pl.col("after").str.extract(r"^\d+\|(.*)$", 1)
    fresh = pl.format("{} {}", pl.lit(NEW), named["group"])
    return given.select(pl.when(pl.col("after").is_in(kept)).then(old).otherwise(fresh)).to_series()


def _worth(
    members: pl.DataFrame, links: pl.DataFrame, orders: pl.DataFrame | None, buckets: pl.DataFrame | None
) -> pl.DataFrame:
    """What each record stands for: record_id, spend (money), value (its part of its customer's)."""
    concerned = links.select("record_id", "customer_id").join(
        members.select(customer_id="before").unique(), on="customer_id", how="semi"
    )
    spent = pl.DataFrame(schema={"record_id": pl.String, "spend": _MONEY})
    if orders is not None:
        spent = (
            orders.select(record_id=pl.concat_str("source", "source_id", separator=":"), spend="merchandise_amount")
            .join(concerned, on="record_id", how="semi")
            .group_by("record_id")
            .agg(pl.col("spend").sum().cast(_MONEY))
        )
    value = pl.DataFrame(schema={"customer_id": pl.String, "value": pl.Float64})
    if buckets is not None:
        value = _newest(buckets).select("customer_id", "value")
    # Returns may outweigh purchases; a record cannot stand for less than nothing of a value.
    positive = pl.col("spend").cast(pl.Float64).clip(lower_bound=0)
    total = positive.sum().over("customer_id")
    share = pl.when(total > 0).then(positive / total).otherwise(1 / pl.len().over("customer_id"))
    return (
        concerned.join(spent, on="record_id", how="left")
        .join(value, on="customer_id", how="left")
        .sort("record_id")
        .with_columns(pl.col("spend").fill_null(0).cast(_MONEY))
        .select("record_id", "spend", value=pl.col("value") * share)
    )


def _newest(buckets: pl.DataFrame) -> pl.DataFrame:
    return buckets.filter(pl.col("as_of") == pl.col("as_of").max())


def _bounds(buckets: pl.DataFrame | None) -> dict[str, float]:
    """The least value in each bucket that there is."""
    if buckets is None:
        return {}
    least = _newest(buckets).group_by("bucket").agg(pl.col("value").min())
    return dict(least.select("bucket", "value").iter_rows())


def _bucket(value: pl.Expr, bounds: dict[str, float]) -> pl.Expr:
    """The bucket of a value; null without one. Below every bound is the lowest bucket there is."""
    risen = [name for name in BUCKETS if name in bounds]
    found = pl.lit(risen[0] if risen else None, pl.String)
    for name in risen[1:]:
        # A hair's breadth, for sums of shares.
        found = pl.when(value >= bounds[name] * (1 - 1e-9)).then(pl.lit(name)).otherwise(found)
    return pl.when(value.is_not_null()).then(found)


def _customers(facts: pl.DataFrame, when: str, bounds: dict[str, float]) -> pl.DataFrame:
    """Each case's customers before or after: case, customer, records, spend, bucket, the largest first."""
    known = pl.col("value").drop_nulls()
    return (
        facts.sort("place")
        .group_by("case", pl.col(when).alias("customer"), maintain_order=True)
        .agg(
            records=pl.len().cast(pl.Int64),
            spend=pl.col("spend").sum(),
            value=pl.when(known.len() > 0).then(known.sum()),
            first=pl.col("place").min(),
        )
        .with_columns(bucket=_bucket(pl.col("value"), bounds))
        .sort(["case", "records", "first"], descending=[False, True, False])
        .with_columns(customer=pl.when(_is_new()).then(pl.lit(NEW)).otherwise("customer"))
    )


def _is_new() -> pl.Expr:
    return pl.col("customer").str.starts_with(f"{NEW} ")


def _listed(customers: pl.DataFrame, when: str) -> pl.DataFrame:
    """A case's customers as lists in words, and as a part of a sentence."""
    unit = pl.when(pl.col("records") == 1).then(pl.lit("record")).otherwise(pl.lit("records"))
    worth = pl.format(", {} value", "bucket").fill_null("")
    spoken = pl.format("{} ({} {}{})", "customer", "records", unit, worth)
    return customers.group_by("case", maintain_order=True).agg(
        pl.col("customer").str.join(", ").alias(f"customers_{when}"),
        pl.col("records").cast(pl.String).str.join(", ").alias(f"records_{when}"),
        pl.col("spend").cast(pl.String).str.join(", ").alias(f"spend_{when}"),
        pl.col("bucket").fill_null("-").str.join(", ").alias(f"buckets_{when}"),
        pl.len().alias(f"count_{when}"),
        spoken.str.join(" and ").alias(f"spoken_{when}"),
    )


def _moved(facts: pl.DataFrame, bounds: dict[str, float]) -> pl.DataFrame:
    """records_moved and bucket_changes of each case."""
    value = pl.col("value").sum()
    buckets = (_bucket(value.over("case", when), bounds).alias(f"bucket_{when}") for when in ("before", "after"))
    changes = pl.col("bucket_before").ne_missing(pl.col("bucket_after")) & pl.col("value").is_not_null()
    return (
        facts.sort("place")
        .with_columns(buckets)
        .group_by("case")
        .agg(
            records_moved=(pl.col("before") != pl.col("after")).sum().cast(pl.Int64),
            bucket_changes=changes.any(),
        )
    )


def _conflicts(after: pl.DataFrame, consents: pl.DataFrame | None) -> pl.DataFrame:
    """consents_in_conflict and consents_settled of each case: purposes by name; empty where there are none."""
    if consents is None:
        return pl.DataFrame(schema={"case": pl.Int64})
    current = (
        consents.with_columns(record_id=pl.concat_str("source", "source_id", separator=":"))
        .join(after, on="record_id", how="semi")
        .sort("at", ~pl.col("granted"))
        .unique(["record_id", "purpose"], keep="last", maintain_order=True)
        .select("record_id", "purpose", "granted")
    )
    known = after.join(current, on="record_id")
    before, then = (
        known.group_by("case", "purpose", when)
        .agg(pl.col("granted").n_unique())
        .filter(pl.col("granted") > 1)
        .select("case", "purpose")
        .unique()
        for when in ("before", "after")
    )
    named = pl.col("purpose").sort().str.join(", ")
    new, settled = (
        one.join(other, on=["case", "purpose"], how="anti").group_by("case").agg(named.alias(name))
        for one, other, name in ((then, before, "consents_in_conflict"), (before, then, "consents_settled"))
    )
    return (
        after.select("case")
        .unique()
        .join(new, on="case", how="left")
        .join(settled, on="case", how="left")
        .with_columns(pl.col("consents_in_conflict", "consents_settled").fill_null(""))
    )


def _homes(asked: pl.DataFrame, households: pl.DataFrame | None) -> pl.DataFrame:
    """Whether a case's two customers live together; null where they are one or a household is not known."""
    if households is None:
        return asked.select("case", households=pl.lit(None, pl.String))
    home = households.select("customer_id", "household_id").unique("customer_id", keep="any")
    same = pl.col("household_id") == pl.col("household_id_b")
    return (
        asked.join(home, left_on="customer_a", right_on="customer_id", how="left")
        .join(home, left_on="customer_b", right_on="customer_id", how="left", suffix="_b")
        .select(
            "case",
            households=pl.when(pl.col("customer_a") == pl.col("customer_b"))
            .then(None)
            .when(same)
            .then(pl.lit("same"))
            .when(~same)
            .then(pl.lit("different")),
        )
    )


def _effect() -> pl.Expr:
    before, after = pl.col("count_before"), pl.col("count_after")
    return (
        pl.when(pl.col("records_moved") == 0)
        .then(pl.lit("none"))
        .when((before == 2) & (after == 1))
        .then(pl.lit("merge"))
        .when((before == 1) & (after > 1))
        .then(pl.lit("split"))
        .otherwise(pl.lit("regroup"))
    )


def _sentence() -> pl.Expr:
    """The row in words."""
    nothing = pl.format("{}: nothing would change.", pl.col("answer").str.to_titlecase())
    change = pl.format("{}: {} would become {}", pl.col("answer").str.to_titlecase(), "spoken_before", "spoken_after")
    moved = pl.format("; records that change their customer: {}", "records_moved")
    regrouped = pl.when(pl.col("effect") == "regroup").then(moved).otherwise(pl.lit(""))
    conflict = _clause("consents_in_conflict", "; granted by one and withdrawn by the other: ")
    settled = _clause("consents_settled", "; no longer in conflict: consent to ")
    home = pl.when(pl.col("households") == "same").then(pl.lit("; they live together")).otherwise(pl.lit(""))
    return (
        pl.when(pl.col("effect") == "none")
        .then(nothing)
        .otherwise(pl.concat_str(change, regrouped, conflict, settled, home, pl.lit(".")))
    )


def _clause(column: str, words: str) -> pl.Expr:
    said = pl.col(column).fill_null("") != ""
    return pl.when(said).then(pl.concat_str(pl.lit(words), pl.col(column))).otherwise(pl.lit(""))
