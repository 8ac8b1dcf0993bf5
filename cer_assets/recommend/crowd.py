"""Lists for more customers than are learned from or held at once: some teach, all are ranked, block after block.

What models learn (of products, kinds and pairs of them) hardly moves once some ten thousand customers have taught it,
while its cost goes on growing; what a customer bought is looked up for a block of customers at a time. Purchases of all
customers are held as whole numbers, 25 bytes each.
"""

import logging
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import duckdb
import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from cer_assets.arrays import distinct
from cer_assets.recommend.hybrid.ensemble import Hybrid
from cer_assets.recommend.interactions import EVENT_KINDS, Events, Interactions, days_since_epoch
from cer_assets.recommend.model import Recommender, Settings
from cer_assets.recommend.policy import Policy, recommendable
from cer_assets.recommend.rank import RECOMMENDATIONS, UNKNOWN, fallback_models, rank
from cer_assets.recommend.reasons import Sold
from cer_assets.recommend.rhythm import Rhythm

logger = logging.getLogger(__name__)

HALF_LIFE_DAYS = 60.0
"""Age at which what a customer spent counts half for whether it matters who makes their list."""
MOST_DAYS = 1 << 16
"""Days that fit beside a customer and a product in one whole number."""
PARTS, MOST = 1000, 2_000_000
"""Amounts and quantities are counted in thousandths, and what is beyond the most, in one line, as so much."""
NO_HOUR = 127
"""Stands after every hour of the day."""


class CrowdSettings(Settings):
    """How many customers teach, and for how many all families are asked."""

    teachers: int = Field(default=20_000, ge=1)
    """Customers that models learn from; of more than that a sample is drawn, the same from day to day."""
    lessons: int = Field(default=4_000_000, ge=1)
    """Order lines that models learn from: fewer customers teach where these buy so much."""
    ranked_by_all: int = Field(default=50_000, ge=0)
    """Customers whose lists the champion makes where not everyone teaches: those who spent most of late. The others
    have those of `plain`, which costs a fraction of all families."""
    plain: str = "tifu_knn"
    """The family that makes the lists of the others, where the champion ranks over all families."""
    carried_days: int = Field(default=14, ge=1)
    """Days after which a list is made anew at the latest, a share of all lists each day; 1: every list every day. To
    who bought nothing since, one of 28 days ago is hardly worth less (`benchmarks/bench_carried.py`), but what it says
    of itself grows old."""
    block: int = Field(default=20_000, ge=1)
    """Customers whose purchases are handed to the models at once."""


def teachers(customers: pl.DataFrame, settings: CrowdSettings | None = None) -> pl.Series | None:
    """Customers that models learn from; None where everyone does.

    They are drawn by a hash of their id: who teaches today mostly teaches tomorrow, for a newcomer takes one place.

    Args:
        customers: customer_id, lines (how many order lines); a row a customer.
        settings: how many.
    """
    settings = settings or CrowdSettings()
    if customers.height <= settings.teachers and customers["lines"].sum() <= settings.lessons:
        return None
    drawn = customers.with_columns(draw=_draw(customers["customer_id"]))
    drawn = drawn.sort("draw", "customer_id").head(settings.teachers)
    return drawn.filter(pl.col("lines").cum_sum() <= settings.lessons)["customer_id"].sort()


def _draw(customers: pl.Series) -> pl.Series:
    """A number for each customer_id that stays the same for ever, as good as drawn at random."""
    return pl.Series([zlib.crc32(one.encode()) for one in customers], dtype=pl.UInt32)


def everyone(
    con: duckdb.DuckDBPyConnection,
    as_of: date,
    withdrawn: pl.Series | None = None,
    traits: pl.DataFrame | None = None,
) -> Interactions:
    """What `interactions` makes of all customers and all goods (`min_customers=1`), but for the weather.

    Lines leave DuckDB one batch after another, as whole numbers; they are put in order and added up here.

    Args:
        con: sees `customer.order_lines` and `customer.events`.
        as_of: the cut; only days strictly before it are read.
        withdrawn: customer_ids that must not be used at all.
        traits: customer_id and what else is known of the customer as of the cut.
    """
    left_out = pl.DataFrame({"customer_id": withdrawn if withdrawn is not None else pl.Series([], dtype=pl.String)})
    con.from_arrow(left_out.to_arrow()).create("left_out")
    kinds = ", ".join(f"'{kind}'" for kind in EVENT_KINDS)
    cut = {"as_of": as_of}
    con.execute(
        """
        create or replace temp view line as
        select *, ordered_on - date '1970-01-01' as day from customer.order_lines
        where merchandise and quantity > 0 and amount > 0
            and customer_id is not null and product_id is not null
        """
    )
    con.execute(
        f"""
        create or replace temp view look as
        select *, occurred_at::date - date '1970-01-01' as day, list_position([{kinds}], kind) - 1 as number
        from customer.events
        where customer_id is not null and product_id is not null and kind in ({kinds})
        """
    )
    con.execute(
        """
        create or replace temp table numbered_product as
        select product_id, row_number() over (order by product_id) - 1 as "column"
        from (select distinct product_id from line where ordered_on < $as_of)
        """,
        cut,
    )
    con.execute(
        """
        create or replace temp table numbered_customer as
        select customer_id, row_number() over (order by customer_id) - 1 as "row"
        from (
            select customer_id from line where ordered_on < $as_of
            union
            select customer_id from look where occurred_at < $as_of
        ) as seen
        anti join left_out using (customer_id)
        """,
        cut,
    )
    customers, products = (
        con.sql(f"select {name}_id from numbered_{name} order by 1").pl()[f"{name}_id"]
        for name in ("customer", "product")
    )
    bought = _columns(
        con,
        f"""
        select "row"::integer as "row", "column"::integer as "column", day::smallint as day,
            coalesce(hour(ordered_at), {NO_HOUR})::tinyint as hour,
            (least(amount, {MOST}) * {PARTS})::integer as amounts,
            (least(coalesce(discount, 0), {MOST}) * {PARTS})::integer as discounts,
            (least(quantity, {MOST}) * {PARTS})::integer as quantities
        from line inner join numbered_customer using (customer_id) inner join numbered_product using (product_id)
        where ordered_on < $as_of
        """,
        cut,
    )
    seen = _columns(
        con,
        """
        select "row"::integer as "row", "column"::integer as "column", day::smallint as day, number::tinyint as kind
        from look inner join numbered_customer using (customer_id) inner join numbered_product using (product_id)
        where occurred_at < $as_of
        """,
        cut,
    )
    known = customers.to_frame()
    if traits is not None:
        known = known.join(traits, on="customer_id", how="left", maintain_order="left")
    looks, _ = _order(seen, len(products))
    baskets = _day_baskets(bought, len(products))
    return Interactions(
        customers=customers,
        products=products,
        rows=baskets["rows"],
        columns=baskets["columns"],
        days=baskets["days"],
        hours=baskets["hours"],
        amounts=baskets["amounts"],
        discounts=baskets["discounts"],
        quantities=baskets["quantities"],
        traits=known,
        events=Events(
            rows=seen["row"][looks],
            columns=seen["column"][looks],
            days=seen["day"][looks].astype(np.int32),
            kinds=seen["kind"][looks],
        ),
    )


def _day_baskets(lines: dict[str, NDArray[Any]], width: int) -> dict[str, NDArray[Any]]:
    """Lines added up by customer, product and day, as `Interactions` holds them; the lines are let go one by one."""
    order, first = _order(lines, width)
    found: dict[str, NDArray[Any]] = {
        "rows": lines.pop("row")[order[first]],
        "columns": lines.pop("column")[order[first]],
        "days": lines.pop("day")[order[first]].astype(np.int32),
    }
    hours = lines.pop("hour")[order]
    hours = np.minimum.reduceat(hours, first) if len(first) else hours
    found["hours"] = np.where(hours == NO_HOUR, np.int8(-1), hours)
    for name in ("amounts", "discounts", "quantities"):
        # Whole numbers add up to the same in any order.
        parts = lines.pop(name)[order]
        parts = np.add.reduceat(parts, first, dtype=np.int64) if len(first) else parts
        found[name] = (parts / PARTS).astype(np.float32)
    return found


def _order(lines: Mapping[str, NDArray[Any]], width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lines by customer, product and day, and where each such group begins among them."""
    keys = lines["row"].astype(np.int64)
    keys *= max(width, 1)
    keys += lines["column"]
    keys *= MOST_DAYS
    keys += lines["day"]
    if "kind" in lines:
        keys *= len(EVENT_KINDS)
        keys += lines["kind"]
    order = np.argsort(keys)
    keys = keys[order]
    return order, np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])


def _columns(con: duckdb.DuckDBPyConnection, query: str, parameters: Mapping[str, object]) -> dict[str, NDArray[Any]]:
    """The columns of a query, taken batch by batch; what was paid in single precision."""
    reader = con.sql(query, params=parameters).to_arrow_reader(1 << 20)
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in reader.schema.names}
    for batch in reader:
        for name, column in zip(parts, batch.columns, strict=True):
            parts[name].append(column.to_numpy(zero_copy_only=False))
    kinds = {field.name: field.type.to_pandas_dtype() for field in reader.schema}
    return {name: np.concatenate([np.empty(0, kinds[name]), *parts.pop(name)]) for name in list(parts)}


@dataclass(frozen=True)
class Lists:
    """The lists of a day, and how many were made how."""

    rows: pl.DataFrame
    """RECOMMENDATIONS, in no order."""
    by_model: int
    """Customers whose list the model made."""
    by_plain: int
    """Those of whom one family did."""
    carried: int
    """Those whose list of an earlier day stands."""


def rank_everyone(
    model: Recommender,
    crowd: Interactions,
    customers: pl.Series,
    products: pl.DataFrame,
    as_of: date,
    rhythm: Rhythm,
    *,
    policy: Policy | None = None,
    k: int = 10,
    settings: CrowdSettings | None = None,
    before: pl.DataFrame | None = None,
    moved: pl.Series | None = None,
) -> Lists:
    """Rows as `rank` makes them, for customers of whom the model knows but some.

    Args:
        model: fitted on some customers' purchases until `as_of`.
        crowd: all customers' in all goods, see `everyone`; who withdrew is not in it.
        customers: customer_ids who shall have a list, with or without purchases; nobody who withdrew.
        products: the catalogue.
        as_of: the last day whose purchases are known.
        rhythm: of all goods, learned as of the morning after.
        policy: what may be shown.
        k: longest list.
        settings: for how many all families are asked.
        before: lists of an earlier day, made with the same model and policy: those that `stand` are not made anew.
        moved: customer_ids of whom other purchases or looks are known than `before` was made from.
    """
    settings = settings or CrowdSettings()
    history, cut = model.interactions_, as_of + timedelta(days=1)
    wanted = customers.drop_nulls().cast(pl.String).unique().sort()
    none = pl.DataFrame(schema=RECOMMENDATIONS)
    kept = stand(none if before is None else before, crowd, products, as_of, settings, moved)
    kept = kept.filter(pl.col("customer_id").is_in(wanted.implode()))
    carried = kept["customer_id"].unique()
    wanted = wanted.filter(~wanted.is_in(carried.implode()))
    fallbacks = fallback_models(history, products, cut)
    counted = Sold.of(crowd, cut)
    column = crowd.column_of(history.products)
    sold = Sold(*(np.where(column >= 0, values[column], 0) for values in (counted.ever, counted.lately)))
    plain = model.fitted_.get(settings.plain, model) if isinstance(model, Hybrid) else model
    matters = crowd.customers.to_frame().filter(pl.Series(_matters(crowd, cut, settings.ranked_by_all)))

    def lists(some: pl.Series, place: Interactions, of: Recommender, strangers: bool = False) -> pl.DataFrame:
        own = place.in_products(history.products)
        return rank(
            of.of_others(own, cut),
            some,
            products,
            as_of,
            policy=policy,
            rhythm=rhythm.of_others(place, cut),
            fallbacks=[one.of_others(own, cut) for one in fallbacks],
            k=k,
            strangers=strangers,
            sold=sold,
        )

    def found() -> Iterator[pl.DataFrame]:
        for start in range(0, len(wanted), settings.block):
            some = wanted[start : start + settings.block]
            place = crowd.between(*_rows_of(crowd, some))
            asked = some.is_in(matters["customer_id"].implode())
            parts: Sequence[pl.DataFrame] = [
                lists(who, place.of(who), of) for who, of in ((some.filter(asked), model), (some.filter(~asked), plain))
            ]
            yield pl.concat(parts).sort("customer_id", "rank")
            logger.info("lists of %s of %s customers", start + len(some), len(wanted))
        nobody = crowd.between(0, 0)
        yield lists(wanted.clear(), nobody, plain, strangers=True)

    rows = pl.concat([none, *found(), kept])
    by_model = int(wanted.is_in(matters["customer_id"].implode()).sum()) if plain is not model else len(wanted)
    return Lists(rows, by_model, len(wanted) - by_model, len(carried))


def stand(
    lists: pl.DataFrame,
    crowd: Interactions,
    products: pl.DataFrame,
    as_of: date,
    settings: CrowdSettings,
    moved: pl.Series | None = None,
) -> pl.DataFrame:
    """Lists of an earlier day that still stand, as rows of this day.

    A list is made anew where its customer has bought or looked at something since, where something else of them is
    known by now (`moved`), where a product on it may not be shown any more, and every `carried_days` whatever happened,
    each customer on a day of their own: so a trend, and what has become due, are in it by then. None is there for a
    customer who was not; the list of `unknown` is always made anew.

    Args:
        lists: RECOMMENDATIONS of one day.
        crowd: purchases of all until `as_of`, see `everyone`.
        products: the catalogue.
        as_of: this day.
        settings: how long a list may stand.
        moved: customer_ids of whom other purchases or looks are known than the lists were made from: delivered late,
            mended, or come with a merged record.
    """
    day = lists["as_of"].max()
    if not isinstance(day, date) or not 0 < (as_of - day).days < settings.carried_days:
        return lists.clear()
    since = days_since_epoch(day)
    rows = np.concatenate([crowd.rows[crowd.days > since], crowd.events.rows[crowd.events.days > since]])
    since_then = crowd.customers.gather(distinct(rows))
    moved = since_then if moved is None else pl.concat([since_then, moved.cast(pl.String)])
    shown = lists["product_id"].unique()
    gone = shown.filter(~pl.Series(recommendable(products, shown)))
    owners = lists.group_by("customer_id").agg(gone=pl.col("product_id").is_in(gone.implode()).any())
    turns = [one % settings.carried_days for one in range(day.toordinal() + 1, as_of.toordinal() + 1)]
    standing = owners.filter(
        ~pl.col("gone"),
        ~pl.col("customer_id").is_in(moved.implode()),
        ~(_draw(owners["customer_id"]) % settings.carried_days).is_in(turns),
        pl.col("customer_id") != UNKNOWN,
    )
    kept = lists.filter(pl.col("customer_id").is_in(standing["customer_id"].implode()))
    return kept.with_columns(as_of=pl.lit(as_of)).select(*RECOMMENDATIONS)


def _rows_of(crowd: Interactions, some: pl.Series) -> tuple[int, int]:
    """First row of sorted customers, and the one after their last."""
    first, last = crowd.customers.search_sorted(some[0], "left"), crowd.customers.search_sorted(some[-1], "right")
    return int(first), int(last)


def _matters(crowd: Interactions, cut: date, most: int) -> NDArray[np.bool_]:
    """Who spent most, what was spent lately weighing more (customers)."""
    weight = crowd.amounts * np.exp2((crowd.days - days_since_epoch(cut)) / HALF_LIFE_DAYS)
    spent = np.bincount(crowd.rows, weight, minlength=len(crowd.customers))
    matters = np.zeros(len(spent), bool)
    matters[np.argsort(-spent, kind="stable")[:most]] = True
    return matters & (spent > 0)
