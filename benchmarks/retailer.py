"""A generated retailer of any size: the drops of a year and of one more day, and who is who; nothing is loaded here.

Records, persons and purchases are drawn set-wise from seeds: the same number of customers gives the same files.
"""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import polars as pl
from identity_sets import febrl_originals
from people import people

Ints = npt.NDArray[np.int64]
Generator = np.random.Generator

SEED = 11
FIRST_DAY = dt.date(2017, 1, 2)
WEEKS = 52
"""The year is dropped week by week, each file dated on the week's Sunday."""
RECORDS_A_PERSON = (0.15, 0.20, 0.30, 0.20, 0.15)
"""Three on average."""
RECORDS, LINES = 3, 50
"""Records and basket lines of a year, a customer."""
DAILY_SHARE = 0.001
"""Of the customers that are new or changed in the drop of one more day, and of the year's lines that it brings."""
MOST_PRODUCTS = 20_000
LINES_A_BASKET = 5
REPERTOIRE = 16
"""Products that a customer keeps buying."""
FROM_REPERTOIRE = 0.6
ANONYMOUS = 0.04
"""Share of baskets that name no payer."""
CAMPAIGNS = 12
REACHED, ANSWERED = 0.03, 0.06
"""Share of the records that a campaign reaches, and of these that answer it."""
SOURCES = ("crm", "web", "loyalty")


@dataclass(frozen=True)
class Payers:
    """The records of each customer, who are numbered by the order of their person."""

    records: pl.DataFrame
    """record, source, source_id, person_id and the fields, ordered by person."""
    first: Ints
    """Where a customer's records begin."""
    count: Ints
    """How many they are."""


@dataclass(frozen=True)
class Habits:
    """What each customer tends to do, and what there is to buy."""

    weekly: npt.NDArray[np.float64]
    """Baskets a week while active."""
    joins: Ints
    leaves: Ints
    store: Ints
    repertoire: Ints
    """customers x `REPERTOIRE` products, the favourite first."""
    popularity: npt.NDArray[np.float64]
    """Cumulative share of purchases by product."""
    cents: Ints
    """Shelf price by product."""


def year(folder: Path, customers: int) -> None:
    """Write the landing zone of a year, and the truth that a stand-in for a person answers questions by."""
    landing = folder / "landing"
    payers = _payers(customers, SEED)
    truth = payers.records.select(record_id=pl.concat_str("source", "source_id", separator=":"), person_id="person_id")
    _write(folder / "sample_truth" / "people.parquet", truth.with_columns(household_id="person_id"))
    rng = np.random.default_rng(SEED)
    weeks = _week_of_record(len(payers.records), rng)
    for week in range(WEEKS):
        for source in SOURCES[1:] if week else SOURCES:
            mine = (payers.records["source"] == source) & pl.Series((weeks == week) | (source == "crm"))
            _drop_records(landing, source, payers.records.filter(mine), _sunday(week))
    _drop_catalogue(landing, customers)
    _drop_campaigns(landing, payers, customers, rng)
    habits = _habits(len(payers.count), customers)
    for week in range(WEEKS):
        # A seed a week: a year that was cut short goes on where it ended.
        rng = np.random.default_rng([SEED, week])
        if (landing / "transactions" / f"{_sunday(week)}.parquet").exists():
            continue
        baskets = _poisson_baskets(habits, week, rng)
        _drop_lines(landing, payers, habits, baskets, 7 * week, 7, _sunday(week), rng)


def one_more_day(folder: Path, customers: int) -> None:
    """Write the drop of the day after: some customers new, as many changed, and the day's lines."""
    landing, day = folder / "landing", _sunday(WEEKS - 1) + dt.timedelta(days=1)
    rng = np.random.default_rng(SEED + 1)
    payers = _payers(customers, SEED)
    some = max(round(customers * DAILY_SHARE / 2), 1)
    moved = pl.Series(np.sort(rng.choice(len(payers.count), size=some, replace=False)))
    changed = payers.records[payers.first[moved.to_numpy()]].with_columns(
        phone=pl.concat_str(pl.lit("04"), pl.Series(rng.integers(10**8, size=some)).cast(pl.String).str.zfill(8))
    )
    new = _payers(some, SEED + 2).records.with_columns(source_id=pl.concat_str(pl.lit("n"), "source_id"))
    # The CRM exports everything each time, so a day of changes comes from the shop and the loyalty scheme alone.
    dropped = pl.concat([changed, new]).with_columns(
        source=pl.when(pl.col("source") == "crm").then(pl.lit("web")).otherwise("source")
    )
    dropped = dropped.unique(["source", "source_id"], keep="first", maintain_order=True)
    for source in SOURCES[1:]:
        _drop_records(landing, source, dropped.filter(source=source), day)
    habits = _habits(len(payers.count), customers)
    baskets = round(customers * LINES * DAILY_SHARE / LINES_A_BASKET)
    active = np.flatnonzero(habits.leaves >= WEEKS)
    chance = habits.weekly[active] / habits.weekly[active].sum()
    _drop_lines(landing, payers, habits, np.sort(rng.choice(active, size=baskets, p=chance)), 7 * WEEKS, 1, day, rng)


def _sunday(week: int) -> dt.date:
    return FIRST_DAY + dt.timedelta(days=7 * week + 6)


def _payers(customers: int, seed: int) -> Payers:
    records = people(RECORDS * customers, febrl_originals(), seed, RECORDS_A_PERSON)
    rng = np.random.default_rng(seed)
    records = records.with_columns(
        source=pl.Series(np.array(SOURCES)[rng.integers(len(SOURCES), size=len(records))]),
        source_id=pl.col("record_id"),
        number=pl.col("person_id").cast(pl.Int64),
    ).sort("number", pl.col("record_id").cast(pl.Int64))
    count = records.group_by("number", maintain_order=True).len()["len"].to_numpy().astype(np.int64)
    return Payers(records, np.cumsum(count) - count, count)


def _week_of_record(size: int, rng: Generator) -> Ints:
    """Half the records are there from the first week on, the others come through the year."""
    return np.where(rng.random(size) < 0.5, 0, rng.integers(WEEKS, size=size))


def _drop_records(landing: Path, source: str, records: pl.DataFrame, day: dt.date) -> None:
    street = pl.concat_str("street_number", "address_1", separator=" ", ignore_nulls=True)
    full_name = pl.concat_str("given_name", "surname", separator=" ", ignore_nulls=True)
    born = pl.concat_str(
        *(pl.col("date_of_birth").str.slice(at, length) for at, length in ((0, 4), (4, 2), (6, 2))), separator="-"
    )
    at = pl.lit(dt.datetime.combine(day, dt.time(12)))
    layouts: dict[str, tuple[str, dict[str, pl.Expr | str]]] = {
        "crm": (
            "crm_customers",
            {"CUSTNO": "source_id", "LASTNAME": "surname", "FIRSTNAME": "given_name", "DOB": born, "EMAIL": "email"}
            | {"PHONE": "phone", "STREET": street, "CITY": "suburb", "ZIP": "postcode", "CHANGED": at},
        ),
        "web": (
            "web_accounts",
            {"user_id": "source_id", "name": full_name, "dob": born, "mail": "email", "mobile": "phone"}
            | {"street": street, "city": "suburb", "zip": "postcode", "updated_at": at},
        ),
        "loyalty": (
            "loyalty_members",
            {"card_number": "source_id", "first": "given_name", "last": "surname", "birthday": born, "phone": "phone"}
            | {"email": "email", "addr1": street, "town": "suburb", "postal_code": "postcode", "modified_at": at},
        ),
    }
    feed, columns = layouts[source]
    _write(landing / feed / f"{day}.parquet", records.select(**columns))


def _products(customers: int) -> int:
    return min(MOST_PRODUCTS, max(customers // 5, 400))


def _drop_catalogue(landing: Path, customers: int) -> None:
    count = _products(customers)
    number, rng = np.arange(count), np.random.default_rng(SEED)
    frame = pl.DataFrame(
        {"number": number, "kind": rng.integers(200, size=count), "brand": rng.integers(60, size=count)}
    )
    text = pl.col("number").cast(pl.String)
    catalogue = frame.select(
        product_id=pl.concat_str(pl.lit("p"), text),
        title=pl.format("thing {} of kind {}", "number", "kind"),
        department=pl.format("department {}", pl.col("kind") // 20),
        category=pl.format("category {}", pl.col("kind") // 2),
        type=pl.format("type {}", "kind"),
        brand=pl.format("brand {}", "brand"),
        price=(pl.Series(_cents(count)) / 100).round(2),
    )
    _write(landing / "products" / f"{_sunday(0)}.parquet", catalogue)


def _cents(products: int) -> Ints:
    return np.maximum(np.exp(np.random.default_rng(SEED).normal(5.7, 0.8, size=products)), 20).astype(np.int64)


def _drop_campaigns(landing: Path, payers: Payers, customers: int, rng: Generator) -> None:
    products = _products(customers)
    rows: list[pl.DataFrame] = []
    for number in range(CAMPAIGNS):
        starts = FIRST_DAY + dt.timedelta(days=60 + 24 * number)
        promoted = rng.choice(products, size=min(40, products), replace=False)
        rows.append(
            pl.DataFrame({"product_id": [f"p{each}" for each in promoted.tolist()]}).with_columns(
                campaign_id=pl.lit(f"c{number:02}"),
                name=pl.lit(f"campaign {number}"),
                kind=pl.lit("coupons"),
                starts_on=pl.lit(starts),
                ends_on=pl.lit(starts + dt.timedelta(days=27)),
            )
        )
        reached = payers.records[np.flatnonzero(rng.random(len(payers.records)) < REACHED)].select(
            "source", "source_id"
        )
        sent = reached.with_columns(
            campaign_id=pl.lit(f"c{number:02}"), at=pl.lit(dt.datetime.combine(starts, dt.time(8)))
        )
        answered = sent[np.flatnonzero(rng.random(len(sent)) < ANSWERED)]
        answered = answered.with_columns(coupon_id=pl.lit(f"k{number:02}"), at=pl.col("at") + dt.timedelta(days=9))
        day = starts + dt.timedelta(days=6 - starts.weekday())
        _write(landing / "campaign_sends" / f"{day}.parquet", sent)
        _write(landing / "campaign_responses" / f"{day + dt.timedelta(days=14)}.parquet", answered)
    _write(landing / "campaigns" / f"{_sunday(0)}.parquet", pl.concat(rows))


def _habits(count: int, customers: int) -> Habits:
    rng = np.random.default_rng(SEED)
    products = _products(customers)
    popularity = np.cumsum(1 / np.arange(5, products + 5) ** 0.9)
    popularity /= popularity[-1]
    joins = np.where(rng.random(count) < 0.5, 0, rng.integers(WEEKS, size=count))
    leaves = np.where(rng.random(count) < 0.7, WEEKS, joins + 1 + rng.integers(WEEKS, size=count))
    present = np.minimum(leaves, WEEKS) - joins
    weekly = rng.gamma(1.2, 1.0, size=count)
    weekly *= customers * LINES / LINES_A_BASKET / (weekly * present).sum()
    repertoire = np.searchsorted(popularity, rng.random((count, REPERTOIRE)))
    return Habits(
        weekly=weekly,
        joins=joins,
        leaves=leaves,
        store=rng.integers(max(count // 5_000, 5), size=count),
        repertoire=repertoire,
        popularity=popularity,
        cents=_cents(products),
    )


def _poisson_baskets(habits: Habits, week: int, rng: Generator) -> Ints:
    """The customer of each basket of a week."""
    active = (habits.joins <= week) & (week < habits.leaves)
    return np.repeat(np.arange(len(active)), rng.poisson(np.where(active, habits.weekly, 0)))


def _drop_lines(
    landing: Path,
    payers: Payers,
    habits: Habits,
    baskets: Ints,
    start: int,
    days: int,
    dropped_on: dt.date,
    rng: Generator,
) -> None:
    """The file of some days from `start` on: the lines of the baskets of these customers."""
    number = len(baskets)
    payer = payers.first[baskets] + (rng.random(number) * payers.count[baskets]).astype(np.int64)
    seconds = rng.integers(14 * 3600, 26 * 3600, size=number) + 86_400 * rng.integers(days, size=number)
    store = np.where(rng.random(number) < 0.8, habits.store[baskets], rng.integers(habits.store.max() + 1, size=number))
    # A basket is named by its place in the file, so that a file can be made again.
    of_basket = pl.DataFrame(
        {
            "basket": np.arange(number),
            "payer": payer,
            "store": store,
            "ordered_at": pl.Series(seconds * 1_000_000).cast(pl.Duration("us")),
            "known": rng.random(number) >= ANONYMOUS,
        }
    )
    lines = 1 + rng.poisson(LINES_A_BASKET - 1, size=number)
    basket = np.repeat(np.arange(number), lines)
    total = len(basket)
    favourite = np.minimum(rng.geometric(0.2, size=total) - 1, REPERTOIRE - 1)
    product = np.where(
        rng.random(total) < FROM_REPERTOIRE,
        habits.repertoire[baskets[basket], favourite],
        np.searchsorted(habits.popularity, rng.random(total)),
    )
    quantity = np.where(rng.random(total) < 0.8, 1, rng.integers(2, 4, size=total))
    quantity = np.where(rng.random(total) < 0.01, -quantity, quantity)
    shelf = habits.cents[product] * quantity
    discount = np.where(rng.random(total) < 0.15, np.abs(shelf) // 5, 0)
    line = np.arange(total) - np.repeat(np.cumsum(lines) - lines, lines)
    of_line = pl.DataFrame(
        {
            "basket": basket,
            "line": line,
            "product": product,
            "quantity": quantity,
            "cents": shelf - np.sign(shelf) * discount,
            "discount": discount,
        }
    )
    first = dt.datetime.combine(FIRST_DAY + dt.timedelta(days=start), dt.time())
    path = landing / "transactions" / f"{dropped_on}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as con:
        con.execute("set threads = 2")
        con.execute("set enable_progress_bar = false")
        con.register("of_line", of_line)
        con.register("of_basket", of_basket.with_columns(pl.col("ordered_at") + pl.lit(first)))
        con.register("payers", payers.records.select("source", "source_id").with_row_index("payer"))
        con.execute(
            f"""
            copy (
                select concat('b{dropped_on:%m%d%y}-', l.basket) as basket_id, l.line::bigint as line,
                    case when b.known then p.source end as source, case when b.known then p.source_id end as source_id,
                    concat('p', l.product) as product_id, l.quantity::decimal(18, 3) as quantity,
                    (l.cents * 0.01)::decimal(18, 2) as amount, (l.discount * 0.01)::decimal(18, 2) as discount,
                    concat('s', b.store) as store_id, b.ordered_at
                from of_line as l
                inner join of_basket as b on l.basket = b.basket
                inner join payers as p on b.payer = p.payer
                order by l.basket, l.line
            ) to '{path}' (format parquet, compression zstd)
            """
        )


def _write(path: Path, frame: pl.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path)
