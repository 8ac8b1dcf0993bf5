"""Writing a sample: from the real purchases and the simulated people to files in the landing zone.

What is written is decided in the other modules; here is which file it goes into, in what order, and when a sample
is whole.
"""

import json
import logging
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import polars as pl

from cer_assets.sample import activity
from cer_assets.sample.catalogue import catalogue
from cer_assets.sample.draws import Draws
from cer_assets.sample.errors import as_held
from cer_assets.sample.journey import FIRST_DAY, LAST_DAY, Journey, households, read_journey
from cer_assets.sample.landing import (
    CRM_FEED,
    ISO,
    LOYALTY_FEED,
    WEB_FEED,
    Landing,
    crm_layout,
    loyalty_layout,
    publish,
    publish_parquet,
    web_layout,
)
from cer_assets.sample.people import people
from cer_assets.sample.purchases import Purchases, as_transactions, rung_up
from cer_assets.sample.records import (
    CRM,
    DELIVERIES,
    MONTHLY,
    SYSTEMS,
    WEB,
    changed,
    in_force,
    later_accounts,
    registrations,
    versions,
)
from cer_assets.sample.words import read_words

logger = logging.getLogger(__name__)

_CHUNK = 25_000  # households whose people are made at once: about 0.5 GB
_NEW_ACCOUNTS = 0.03
_FEWEST_NEW_ACCOUNTS = 3
_FAULTS = ("amount", "basket", "line", "too long", "too short")
_RECORD_FEEDS = (
    (CRM_FEED, "csv", crm_layout),
    (WEB_FEED, "ndjson", web_layout),
    (LOYALTY_FEED, "csv.gz", loyalty_layout),
)


@dataclass(frozen=True)
class Parameters:
    """What decides every byte of a sample."""

    customers: int | None
    """Households; None: the real ones."""
    days: int | None
    """How many of the year's last days have purchases and events; None: all."""
    seed: int

    def first_day(self) -> date:
        """The first day that has purchases and events."""
        year = (LAST_DAY - FIRST_DAY).days + 1
        return LAST_DAY - timedelta(days=min(year if self.days is None else self.days, year) - 1)


@dataclass(frozen=True)
class _Population:
    """The people of some households and everything recorded of them."""

    people: pl.DataFrame
    payers: pl.DataFrame
    held: pl.DataFrame


def write_sample(home: Path, customers: int | None = None, days: int | None = None, seed: int = 0) -> dict[str, int]:
    """Write a year of drops to `home/landing` and who is who to `home/sample_truth`.

    Real purchases, products, campaigns and demographics; simulated people (see `people`, `records`, `errors`). The
    same parameters give the same bytes. A run that was killed can be repeated; a whole sample is left as it is.
    Memory follows the number of records and the lines of a day, not those of the year.

    Args:
        home: root folder.
        customers: households; None: the 2,469 real ones as they are. Fewer: a seeded subset. More: the real ones and
            copies with other people, baskets moved by whole weeks and products exchanged within their type.
        days: keep only so many of the year's last days of purchases and events.
        seed: another seed, other people.

    Returns:
        Counts: households, people, records, baskets, lines and so on, and `error_<name>` of the records in force at
        the end of the year.

    Raises:
        FileExistsError: the folder holds a sample, or a part of one, with other parameters.
        ValueError: no household or no day was asked for.
    """
    parameters = Parameters(customers, days, seed)
    if days is not None and days < 1:
        message = f"a sample needs at least one day, not {days}"
        raise ValueError(message)
    if is_complete(home, customers, days, seed):
        return _read(home, "complete.json")["counts"]
    _claim(home, parameters)
    draws, journey = Draws(seed), read_journey()
    homes = households(journey, customers, draws)
    logger.info("sample of %d households", homes.height)
    counts = Counter({"households": homes.height, "lines_outside_the_year": journey.lines_outside})
    with Landing(home / "landing") as landing:
        payers, letters = _write_records(landing, journey, homes, draws, counts)
        _write_catalogue(landing, journey, draws, counts)
    purchases = Purchases(journey, homes, draws)
    _write_days(home, purchases, payers, letters, parameters.first_day(), counts)
    truth = home / "sample_truth"
    publish_parquet(truth / "people.parquet", _truth(payers))
    publish(truth / "README.txt", files("cer_assets.sample").joinpath("truth_readme.txt").read_bytes())
    publish(truth / "complete.json", _json({"parameters": asdict(parameters), "counts": dict(counts)}))
    return dict(counts)


def is_complete(home: Path, customers: int | None = None, days: int | None = None, seed: int = 0) -> bool:
    """Whether the folder holds a whole sample with these parameters."""
    if not (home / "sample_truth" / "complete.json").exists():
        return False
    return _read(home, "complete.json")["parameters"] == asdict(Parameters(customers, days, seed))


def next_day_drop(home: Path, day: date) -> dict[str, int]:
    """Write the drops of one day after the sample's year.

    Purchases repeat the same weekday 52 weeks before under new basket ids. A few of the shoppers open a web account
    that day and pay with it. Any day can be made, in any order; made again it is the same.

    Args:
        home: a folder with a whole sample.
        day: from 2018-01-01 on.

    Returns:
        Counts: lines, baskets, events, web_accounts (new or changed), new_records.

    Raises:
        FileNotFoundError: the folder holds no whole sample.
        ValueError: the day lies in the sample's year or before.
    """
    draws, journey, homes = _reopened(home, day)
    purchases = Purchases(journey, homes, draws)
    ahead = [day + timedelta(days=n) for n in range(activity.LOOKS_AHEAD + 1)]
    bought = {date_: purchases.on(date_) for date_ in ahead}
    shoppers = pl.concat([lines.select("household") for lines in bought.values()]).unique()
    population = _population(homes.join(shoppers, on="household", how="semi"), draws)
    paid = {date_: rung_up(lines, population.payers, date_, draws) for date_, lines in bought.items()}
    opened = later_accounts(_newly_online(paid[day], population.people, day, draws), day, draws)
    looked = pl.concat([activity.looks(paid[d], population.payers, d, draws) for d in ahead])
    today = looked.filter(pl.col("day") == day)
    web = _web_changes(population, opened, bought[day], day, draws)
    lines = _paid_with(paid[day], opened)
    known = pl.read_parquet(home / "sample_truth" / "people.parquet")
    extended = pl.concat([known, _truth(opened)]).unique("record_id").sort("record_id")
    publish_parquet(home / "sample_truth" / "people.parquet", extended)
    with Landing(home / "landing") as landing:
        landing.add(WEB_FEED, day, "ndjson", web_layout(web))
        landing.add("consents", day, "csv", _csv(activity.consents(opened, draws, later=False)))
        landing.add("events", day, "ndjson", activity.as_events(today))
    # Last, so that whoever pays is known by the time the purchases arrive.
    landing.put("transactions", day, as_transactions(lines))
    (home / "landing" / "transactions" / f"{day}.csv").unlink(missing_ok=True)
    return {
        "lines": lines.height,
        "baskets": lines["basket"].n_unique(),
        "events": today.height,
        "web_accounts": web.height,
        "new_records": opened.height,
    }


def broken_drop(home: Path, day: date, share: float) -> dict[str, int]:
    """Write a day's purchases as csv in place of the day's drop, with some rows that no contract should accept.

    Broken rows have an amount that is no number, no basket, a line that is no number, a field too many, or only
    their first five fields.

    Args:
        home: a folder with a whole sample.
        day: from 2018-01-01 on.
        share: part of the rows that are broken, 0 to 1.

    Returns:
        Counts: lines, broken.

    Raises:
        FileNotFoundError: the folder holds no whole sample.
        ValueError: the day lies in the sample's year or before, or the share is no share.
    """
    if not 0 <= share <= 1:
        message = f"the share of broken rows lies between 0 and 1; it was {share}"
        raise ValueError(message)
    draws, journey, homes = _reopened(home, day)
    lines = Purchases(journey, homes, draws).on(day)
    population = _population(homes.join(lines, on="household", how="semi"), draws)
    paid = as_transactions(rung_up(lines, population.payers, day, draws))
    broken = round(share * paid.height)
    order = pl.Series(draws.uniform("breaks", lines["basket"], lines["line"])).rank("ordinal")
    fault = pl.select(pl.when(order <= broken).then(order % len(_FAULTS))).to_series()
    folder = home / "landing" / "transactions"
    publish(folder / f"{day}.csv", _broken_csv(paid, fault))
    (folder / f"{day}.parquet").unlink(missing_ok=True)
    return {"lines": paid.height, "broken": broken}


def _reopened(home: Path, day: date) -> tuple[Draws, Journey, pl.DataFrame]:
    if day <= LAST_DAY:
        message = f"a further day comes after {LAST_DAY}; it was {day}"
        raise ValueError(message)
    parameters = Parameters(**_read(home, "complete.json")["parameters"])
    draws, journey = Draws(parameters.seed), read_journey()
    return draws, journey, households(journey, parameters.customers, draws)


def _claim(home: Path, parameters: Parameters) -> None:
    """Note what is being written, so that no two samples are mixed in one folder."""
    truth = home / "sample_truth"
    if (truth / "started.json").exists() and _read(home, "started.json") != asdict(parameters):
        message = f"{truth / 'started.json'} names a sample with other parameters; write this one to another folder"
        raise FileExistsError(message)
    publish(truth / "started.json", _json(asdict(parameters)))


def _population(homes: pl.DataFrame, draws: Draws) -> _Population:
    words = read_words()
    persons = people(homes, draws, words)
    payers = registrations(persons, draws)
    return _Population(persons, payers, as_held(versions(payers, persons, draws), draws, words))


def _write_records(
    landing: Landing, journey: Journey, homes: pl.DataFrame, draws: Draws, counts: Counter[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Every feed that hangs on records, household by household; gives the payers and the e-mails read."""
    payers: list[pl.DataFrame] = []
    letters: list[pl.DataFrame] = []
    for chunk in homes.iter_slices(_CHUNK):
        population = _population(chunk, draws)
        payers.append(population.payers)
        _add_record_feeds(landing, population.held, counts)
        sends = activity.campaign_sends(journey, chunk, population.payers, draws)
        letters.append(activity.letters_read(sends, draws))
        responses = activity.campaign_responses(journey, chunk, population.payers, draws)
        consents = activity.consents(population.payers, draws)
        sent = sends.select(pl.col("campaign_id").cast(pl.String), "source", "source_id", "at", "delivered_on")
        for feed, rows in (("campaign_sends", sent), ("campaign_responses", responses), ("consents", consents)):
            _add_by_delivery(landing, feed, rows)
            counts[feed] += rows.height
        known = activity.demographics(chunk, population.payers)
        landing.add("demographics", FIRST_DAY, "csv", known)
        counts["demographics"] += known.height
        counts["people"] += population.people.height
        counts["records"] += population.payers.height
        errors = in_force(population.held, LAST_DAY).select(pl.col("^error_.*$").sum())
        counts.update(errors.row(0, named=True))
        logger.info("people: %d records", counts["records"])
    return pl.concat(payers), pl.concat(letters)


def _add_record_feeds(landing: Landing, held: pl.DataFrame, counts: Counter[str]) -> None:
    for system, (feed, ending, layout) in enumerate(_RECORD_FEEDS):
        of_system = held.filter(pl.col("system") == system)
        days = DELIVERIES[system]
        for before, day in zip((date.min, *days), days, strict=False):
            rows = in_force(of_system, day) if system == CRM else changed(of_system, before, day)
            landing.add(feed, day, ending, layout(rows))
            counts[feed] += rows.height


def _add_by_delivery(landing: Landing, feed: str, rows: pl.DataFrame) -> None:
    for day in MONTHLY:
        landing.add(feed, day, "csv", _csv(rows.filter(pl.col("delivered_on") == day)))


def _csv(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with `at` as local ISO text, in a stated order, without what only the sample knows."""
    return (
        rows.drop("delivered_on")
        .sort("at", "source", "source_id", maintain_order=True)
        .with_columns(pl.col("at").dt.strftime(ISO))
    )


def _write_catalogue(landing: Landing, journey: Journey, draws: Draws, counts: Counter[str]) -> None:
    products = catalogue(journey.products, draws)
    landing.add("products", FIRST_DAY, "csv", products)
    offered = activity.campaigns(journey)
    for (day,), rows in offered.group_by("delivered_on", maintain_order=True):
        landing.add("campaigns", day, "csv", rows.drop("delivered_on"))
    counts.update(products=products.height, campaigns=offered.height)


def _write_days(
    home: Path,
    purchases: Purchases,
    payers: pl.DataFrame,
    letters: pl.DataFrame,
    first: date,
    counts: Counter[str],
) -> None:
    """Purchases and events of each day; events wait until the purchases they lead to are known."""
    draws, ahead = purchases.draws, timedelta(days=activity.LOOKS_AHEAD)
    waiting = letters
    day = first
    while day <= LAST_DAY + ahead:
        paid = rung_up(purchases.on(day), payers, day, draws)
        waiting = pl.concat([waiting, activity.looks(paid, payers, day, draws)])
        with Landing(home / "landing") as landing:
            if day <= LAST_DAY:
                landing.put("transactions", day, as_transactions(paid))
                counts["lines"] += paid.height
                baskets = paid.unique("basket")
                counts["baskets"] += baskets.height
                counts["anonymous_baskets"] += baskets["record"].null_count()
            if day - ahead >= first:
                today = waiting.filter(pl.col("day") == day - ahead)
                landing.add("events", day - ahead, "ndjson", activity.as_events(today))
                counts["events"] += today.height
        waiting = waiting.filter(pl.col("day") > day - ahead)
        if day.day == 1:
            logger.info("purchases: %s", day)
        day += timedelta(days=1)


def _newly_online(paid: pl.DataFrame, persons: pl.DataFrame, day: date, draws: Draws) -> pl.DataFrame:
    """The known shoppers of a day who open a web account."""
    shoppers = persons.join(paid.filter(pl.col("record").is_not_null()), on="person", how="semi")
    number = max(_FEWEST_NEW_ACCOUNTS, round(_NEW_ACCOUNTS * shoppers.height))
    chance = draws.uniform(f"opens an account on {day}", shoppers["person"])
    return (
        shoppers.with_columns(chance=pl.Series(chance))
        .sort("chance", "person")
        .head(number)
        .drop("chance")
        .sort("person")
    )


def _paid_with(paid: pl.DataFrame, opened: pl.DataFrame) -> pl.DataFrame:
    """The lines of a day with what new account holders bought rung up under the new account."""
    account = opened.select("person", new_record="record", new_system="system", new_source_id="source_id")
    joined = paid.join(account, on="person", how="left", maintain_order="left")
    takes = pl.col("record").is_not_null() & pl.col("new_record").is_not_null()
    return joined.with_columns(
        pl.when(takes).then(f"new_{column}").otherwise(column).alias(column)
        for column in ("record", "system", "source_id")
    ).drop("new_record", "new_system", "new_source_id")


def _web_changes(
    population: _Population, opened: pl.DataFrame, lines: pl.DataFrame, day: date, draws: Draws
) -> pl.DataFrame:
    """The web accounts of a day's shoppers that are new or changed since the year's last file."""
    payers = pl.concat([population.payers, opened]).sort("record")
    payers = payers.filter(pl.col("system") == WEB).join(lines, on="household", how="semi")
    held = as_held(versions(payers, population.people, draws), draws, read_words())
    return changed(held, LAST_DAY, day)


def _truth(payers: pl.DataFrame) -> pl.DataFrame:
    source = pl.col("system").replace_strict(dict(enumerate(SYSTEMS)), return_dtype=pl.String)
    return payers.select(
        record_id=source + ":" + pl.col("source_id"),
        person_id=pl.col("person").cast(pl.String),
        household_id=pl.col("household").cast(pl.String),
    ).sort("record_id")


def _broken_csv(paid: pl.DataFrame, fault: pl.Series) -> bytes:
    texts = (
        paid.with_columns(pl.col("ordered_at").dt.strftime(ISO)).cast(pl.String).with_columns(pl.all().fill_null(""))
    )
    kind = pl.lit(fault)
    named = {name: number for number, name in enumerate(_FAULTS)}
    texts = texts.with_columns(
        amount=pl.when(kind == named["amount"]).then(pl.lit("n/a")).otherwise("amount"),
        basket_id=pl.when(kind == named["basket"]).then(pl.lit("")).otherwise("basket_id"),
        line=pl.when(kind == named["line"]).then(pl.lit("first")).otherwise("line"),
    )
    whole = pl.concat_str(pl.all(), separator=",")
    rows = texts.select(
        pl.when(kind == named["too long"]).then(whole + ",surplus")
        .when(kind == named["too short"]).then(pl.concat_str(texts.columns[:5], separator=","))
        .otherwise(whole)
    ).to_series()  # fmt: skip
    return ("\n".join([",".join(texts.columns), *rows.to_list()]) + "\n").encode()


def _read(home: Path, name: str) -> dict[str, Any]:
    path = home / "sample_truth" / name
    if not path.exists():
        message = f"{path} is missing: write the sample first (python -m cer_assets.sample --home {home})"
        raise FileNotFoundError(message)
    return json.loads(path.read_text())


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()
