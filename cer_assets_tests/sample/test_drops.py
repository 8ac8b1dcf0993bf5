import csv
import gzip
import json
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from cer_assets.sample import broken_drop, is_complete, next_day_drop, write_sample
from cer_assets.sample.draws import Draws
from cer_assets.sample.journey import households
from cer_assets.sample.landing import Landing
from cer_assets.sample.records import SYSTEMS

HEADERS = {
    "crm_customers": "CUSTNO;LASTNAME;FIRSTNAME;DOB;EMAIL;PHONE;STREET;CITY;STATE;ZIP;CHANGED",
    "loyalty_members": "card_number,first,last,birthday,phone,email,addr1,town,state,postal_code,modified_at",
    "products": "product_id,title,department,category,type,brand,size,price,available,merchandise",
    "demographics": "source,source_id,age,income,home_ownership,marital_status,household_size,household_comp,kids",
    "campaigns": "campaign_id,name,kind,starts_on,ends_on,product_id",
    "campaign_sends": "campaign_id,source,source_id,at",
    "campaign_responses": "campaign_id,source,source_id,coupon_id,at",
    "consents": "source,source_id,purpose,granted,at",
}
WEB_KEYS = ["user_id", "name", "dob", "mail", "mobile", "street", "city", "state", "zip", "updated_at"]
EVENT_KEYS = ["id", "type", "sys", "user", "visitor", "sku", "ts"]
TRANSACTIONS = {
    "basket_id": pl.String,
    "line": pl.Int64,
    "source": pl.String,
    "source_id": pl.String,
    "product_id": pl.String,
    "quantity": pl.Decimal(18, 3),
    "amount": pl.Decimal(18, 2),
    "discount": pl.Decimal(18, 2),
    "store_id": pl.String,
    "ordered_at": pl.Datetime("us"),
}


def contents(home: Path) -> dict[str, bytes]:
    return {str(p.relative_to(home)): p.read_bytes() for p in sorted(home.rglob("*")) if p.is_file()}


def texts(path: Path) -> str:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return content.decode("cp1252" if path.parent.name == "crm_customers" else "utf-8")


def purchases(home: Path) -> pl.DataFrame:
    return pl.read_parquet(home / "landing" / "transactions" / "2017-*.parquet")


def delivered(home: Path) -> pl.DataFrame:
    """record_id and the day of the first file that holds it, read back from the drops."""
    seen: list[tuple[str, date]] = []
    for feed, source in zip(("crm_customers", "web_accounts", "loyalty_members"), SYSTEMS, strict=True):
        for path in sorted((home / "landing" / feed).iterdir()):
            day = date.fromisoformat(path.name[:10])
            if path.suffix == ".ndjson":
                numbers = [json.loads(row)["user_id"] for row in texts(path).splitlines()]
            else:
                rows = csv.reader(texts(path).splitlines()[1:], delimiter=";" if source == "crm" else ",")
                numbers = [row[0] for row in rows]
            seen.extend((f"{source}:{number}", day) for number in numbers)
    frame = pl.DataFrame(seen, schema=["record_id", "day"], orient="row")
    return frame.group_by("record_id").agg(pl.col("day").min())


def test_the_same_parameters_give_the_same_bytes(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    assert write_sample(one, customers=25, days=4) == write_sample(other, customers=25, days=4)
    assert contents(one) == contents(other)


def test_another_seed_gives_other_people(tmp_path):
    write_sample(tmp_path / "one", customers=25, days=1)
    write_sample(tmp_path / "other", customers=25, days=1, seed=1)
    one, other = (pl.read_parquet(tmp_path / name / "sample_truth" / "people.parquet") for name in ("one", "other"))
    assert not set(one["record_id"]) & set(other["record_id"])


def test_an_interrupted_sample_is_finished_and_a_whole_one_is_left_alone(tmp_path):
    counts = write_sample(tmp_path, customers=10, days=2)
    whole = contents(tmp_path)
    (tmp_path / "sample_truth" / "complete.json").unlink()
    (tmp_path / "landing" / "transactions" / "2017-12-31.parquet").unlink()
    (tmp_path / "landing" / "events" / ".2017-12-31.ndjson.tmp").write_text("half a li")
    assert not is_complete(tmp_path, 10, 2)
    assert write_sample(tmp_path, customers=10, days=2) == counts
    assert contents(tmp_path) == whole
    assert is_complete(tmp_path, 10, 2)
    written = (tmp_path / "landing" / "products" / "2017-01-01.csv").stat().st_mtime_ns
    assert write_sample(tmp_path, customers=10, days=2) == counts
    assert (tmp_path / "landing" / "products" / "2017-01-01.csv").stat().st_mtime_ns == written


def test_two_samples_are_not_mixed_in_one_folder(tmp_path):
    write_sample(tmp_path, customers=10, days=1)
    assert not is_complete(tmp_path, 11, 1)
    with pytest.raises(FileExistsError, match=r"started\.json names a sample with other parameters"):
        write_sample(tmp_path, customers=11, days=1)


@pytest.mark.parametrize(("customers", "days"), [(0, None), (5, 0)])
def test_a_sample_of_nothing_is_refused(tmp_path, customers, days):
    with pytest.raises(ValueError, match="at least one"):
        write_sample(tmp_path, customers, days)


def test_csv_feeds_have_their_headers(small_home):
    for feed, header in HEADERS.items():
        paths = sorted((small_home / "landing" / feed).iterdir())
        assert paths
        assert {texts(path).splitlines()[0] for path in paths} == {header}


def test_ndjson_feeds_have_their_keys(small_home):
    for feed, keys in (("web_accounts", WEB_KEYS), ("events", EVENT_KEYS)):
        for path in sorted((small_home / "landing" / feed).iterdir()):
            assert all(list(json.loads(row)) == keys for row in texts(path).splitlines())


def test_transactions_have_the_types_of_their_contract(small_home):
    paths = sorted((small_home / "landing" / "transactions").iterdir())
    assert [path.stem for path in paths] == [str(date(2017, 1, 1) + timedelta(days=n)) for n in range(365)]
    assert dict(pl.read_parquet_schema(paths[0])) == TRANSACTIONS


def test_the_crm_writes_accents_in_its_own_encoding(tmp_path):
    frame = pl.DataFrame({"CUSTNO": ["C1"], "LASTNAME": ["Muñoz"]})
    with Landing(tmp_path) as landing:
        landing.add("crm_customers", date(2017, 1, 1), "csv", frame)
    assert (tmp_path / "crm_customers" / "2017-01-01.csv").read_bytes() == b"CUSTNO;LASTNAME\nC1;Mu\xf1oz\n"


def test_nothing_is_published_of_a_run_that_failed(tmp_path):
    with pytest.raises(ZeroDivisionError), Landing(tmp_path) as landing:
        landing.add("consents", date(2017, 1, 1), "csv", pl.DataFrame({"source": ["crm"]}))
        _ = 1 / 0
    assert [path.name for path in (tmp_path / "consents").iterdir()] == [".2017-01-01.csv.tmp"]


def test_a_file_holds_what_happened_on_its_local_day(small_home):
    for path in sorted((small_home / "landing" / "transactions").iterdir())[::30]:
        stamps = pl.read_parquet(path)["ordered_at"].dt.replace_time_zone("UTC")
        days = stamps.dt.convert_time_zone("America/New_York").dt.date().unique().to_list()
        assert days == [date.fromisoformat(path.stem)]


def test_the_truth_names_every_delivered_record_and_no_other(small_home):
    truth = pl.read_parquet(small_home / "sample_truth" / "people.parquet")
    assert truth.columns == ["record_id", "person_id", "household_id"]
    assert truth["record_id"].is_sorted()
    assert truth["record_id"].n_unique() == truth.height
    assert set(truth["record_id"]) == set(delivered(small_home)["record_id"])
    assert truth["household_id"].n_unique() == 60


def test_no_truth_lies_in_the_landing_zone(small_home):
    names = {path.name.split(".", 1)[1] for path in (small_home / "landing").rglob("*") if path.is_file()}
    assert names == {"csv", "csv.gz", "ndjson", "parquet"}
    headers = ",".join([*HEADERS.values(), *WEB_KEYS, *EVENT_KEYS, *TRANSACTIONS])
    assert "person" not in headers
    assert "household_id" not in headers


def test_every_payer_was_delivered_by_the_day_of_the_purchase(small_home):
    known = delivered(small_home)
    paid = purchases(small_home).filter(pl.col("source").is_not_null())
    days = paid.select(
        record_id=pl.col("source") + ":" + pl.col("source_id"),
        on=pl.col("ordered_at").dt.replace_time_zone("UTC").dt.convert_time_zone("America/New_York").dt.date(),
    ).join(known, on="record_id", how="left")
    assert days["day"].null_count() == 0
    assert (days["day"] <= days["on"]).all()


def test_nothing_that_was_bought_is_lost(small_home, journey):
    paid = purchases(small_home)
    homes = households(journey, 60, Draws(0))
    baskets = journey.baskets.join(homes, on="original", how="semi")
    rows = pl.concat([pl.int_range(b, b + n, eager=True) for b, n in baskets.select("start", "lines").iter_rows()])
    source = journey.lines[rows]
    assert paid.height == source.height
    for column in ("amount", "discount", "quantity"):
        assert paid[column].sum() == source[column].sum()
    assert paid["basket_id"].n_unique() == baskets.height
    assert (paid.filter(pl.col("amount") == 0).height, paid.filter(pl.col("quantity") == 0).height) == (
        source.filter(pl.col("amount") == 0).height,
        source.filter(pl.col("quantity") == 0).height,
    )


def test_a_basket_is_rung_up_once_and_a_few_by_nobody(small_home):
    baskets = (
        purchases(small_home)
        .group_by("basket_id")
        .agg(pl.struct("source", "source_id").n_unique(), pl.col("source_id").null_count().alias("nobody"))
    )
    assert (baskets["source"] == 1).all()
    assert 0.01 < (baskets["nobody"] > 0).mean() < 0.03


def test_without_resolution_histories_are_in_pieces(small_home):
    truth = pl.read_parquet(small_home / "sample_truth" / "people.parquet")
    paid = purchases(small_home).select(record_id=pl.col("source") + ":" + pl.col("source_id"))
    used = paid.drop_nulls().unique().join(truth, on="record_id").group_by("person_id").len()
    assert (used["len"] > 1).mean() > 0.3


def test_what_hangs_on_records_names_delivered_ones(small_home):
    known = set(delivered(small_home)["record_id"])
    for feed in ("demographics", "campaign_sends", "campaign_responses", "consents"):
        rows = pl.concat(
            [pl.read_csv(p, infer_schema=False) for p in sorted((small_home / "landing" / feed).iterdir())]
        )
        assert rows.height > 10
        assert set(rows["source"] + ":" + rows["source_id"]) <= known
    events = pl.concat(
        [
            pl.read_ndjson(p, schema=dict.fromkeys(EVENT_KEYS, pl.String))
            for p in (small_home / "landing" / "events").iterdir()
        ]
    )
    assert set(events["type"]) == {"view", "search", "cart", "email_open", "email_click"}
    assert events["id"].n_unique() == events.height
    assert events.filter(pl.col("user").is_null() == pl.col("visitor").is_null()).is_empty()
    assert set(events.drop_nulls("user").select(pl.col("sys") + ":" + pl.col("user")).to_series()) <= known


def test_a_few_consents_are_withdrawn_after_they_were_given(small_home):
    rows = pl.concat(
        [pl.read_csv(p, infer_schema=False) for p in sorted((small_home / "landing" / "consents").iterdir())]
    )
    key = ["source", "source_id", "purpose"]
    given, withdrawn = (rows.filter(pl.col("granted") == state) for state in ("true", "false"))
    assert given.select(key).is_unique().all()
    both = withdrawn.join(given, on=key, suffix="_given")
    assert both.height == withdrawn.height > 0
    assert (both["at"] > both["at_given"]).all()
    assert withdrawn.height / given.height < 0.1


def test_changes_hold_only_what_is_new_or_different(small_home):
    paths = sorted((small_home / "landing" / "web_accounts").iterdir())
    first, *later = (len(texts(path).splitlines()) for path in paths)
    assert sum(later) < first
    whole = [len(texts(p).splitlines()) for p in sorted((small_home / "landing" / "crm_customers").iterdir())]
    assert whole == sorted(whole)


def test_more_households_than_are_real_are_copies_with_people_of_their_own(tmp_path):
    counts = write_sample(tmp_path, customers=3_000, days=7)
    assert counts["households"] == 3_000
    truth = pl.read_parquet(tmp_path / "sample_truth" / "people.parquet")
    assert truth["household_id"].n_unique() == 3_000
    assert set(truth["record_id"]) == set(delivered(tmp_path)["record_id"])
    paid = purchases(tmp_path)
    assert paid.height == counts["lines"]
    assert paid.select("basket_id", "line").is_unique().all()
    assert len(list((tmp_path / "landing" / "transactions").iterdir())) == 7
    assert len(list((tmp_path / "landing" / "events").iterdir())) == 7


def test_a_further_day_brings_purchases_events_and_new_accounts(tmp_path):
    write_sample(tmp_path, customers=120, days=2)
    before = contents(tmp_path)
    day = date(2018, 1, 6)
    counts = next_day_drop(tmp_path, day)
    added = {name for name in contents(tmp_path) if name not in before}
    assert added == {
        "landing/transactions/2018-01-06.parquet",
        "landing/events/2018-01-06.ndjson",
        "landing/web_accounts/2018-01-06.ndjson",
        "landing/consents/2018-01-06.csv",
    }
    paid = pl.read_parquet(tmp_path / "landing" / "transactions" / "2018-01-06.parquet")
    assert dict(paid.schema) == TRANSACTIONS
    assert paid.height == counts["lines"] > 50
    truth = pl.read_parquet(tmp_path / "sample_truth" / "people.parquet")
    assert counts["new_records"] >= 3
    assert set(truth["record_id"]) == set(delivered(tmp_path)["record_id"])
    payers = paid.drop_nulls("source").select(pl.col("source") + ":" + pl.col("source_id")).to_series()
    fresh = delivered(tmp_path).filter(pl.col("day") == day)["record_id"]
    assert set(payers) <= set(truth["record_id"])
    assert set(fresh) & set(payers)
    once = contents(tmp_path)
    next_day_drop(tmp_path, day)
    assert contents(tmp_path) == once


def test_a_broken_drop_has_the_stated_share_of_broken_rows(tmp_path):
    write_sample(tmp_path, customers=120, days=1)
    day = date(2018, 1, 6)
    whole = next_day_drop(tmp_path, day)
    counts = broken_drop(tmp_path, day, 0.1)
    assert not (tmp_path / "landing" / "transactions" / f"{day}.parquet").exists()
    header, *rows = csv.reader(texts(tmp_path / "landing" / "transactions" / f"{day}.csv").splitlines())
    assert header == list(TRANSACTIONS)
    assert len(rows) == counts["lines"] == whole["lines"]

    def keeps_the_contract(row: list[str]) -> bool:
        if len(row) != len(header):
            return False
        fields = dict(zip(header, row, strict=True))
        number = fields["amount"].lstrip("-").replace(".", "", 1).isdigit()
        return bool(fields["basket_id"]) and fields["line"].isdigit() and number

    assert sum(not keeps_the_contract(row) for row in rows) == counts["broken"] == round(0.1 * len(rows))


def test_a_further_day_needs_a_whole_sample_and_comes_after_the_year(tmp_path):
    with pytest.raises(FileNotFoundError, match="write the sample first"):
        next_day_drop(tmp_path, date(2018, 1, 1))
    with pytest.raises(ValueError, match="comes after 2017-12-31"):
        broken_drop(tmp_path, date(2017, 12, 31), 0.1)
    with pytest.raises(ValueError, match="between 0 and 1"):
        broken_drop(tmp_path, date(2018, 1, 1), 3)
