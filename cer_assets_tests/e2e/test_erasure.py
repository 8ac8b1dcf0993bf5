"""A whole home, a person in it who asks to be forgotten, and `make run`: nothing names them any more, nor later."""

from pathlib import Path

import polars as pl
import pytest

from cer_assets.defs.resources import Home, feeds
from cer_assets_tests.conftest import copied, run_home
from cer_assets_tests.defs.test_erasure import KEY, found_in, lines, older, write

PEOPLE = [name for name, feed in feeds().items() if feed.contract == "customer_record"]


@pytest.mark.endurance
def test_after_an_erasure_no_byte_under_the_home_names_the_person_and_a_later_drop_brings_nothing_back(
    finished_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CER_SUPPRESSION_KEY", KEY)
    root = copied(finished_home, tmp_path / "home")
    home = Home(root=str(root))
    customer, records = somebody(home)
    told = tuple(told_of(home, records))
    assert len({name.split("/")[0] for name in found_in(home, told)}) > 2, "they stand in more places than one"

    exports = {path: path.read_bytes() for path in sorted((root / "landing" / "crm_customers").iterdir())}
    source, _, source_id = records[0].partition(":")
    write(home, "erasure_requests", "2018-01-01.csv", lines("source,source_id,at", f"{source},{source_id},2018-01-01"))
    run_home(root, "--no-sample")
    assert found_in(home, told) == {}
    # Guards name offenders by id in the instance's events: an id that leads nowhere any more.
    assert [name for name in found_in(home, (customer,)) if not name.startswith("dagster/")] == []
    receipts = home.read("erasure.receipts")
    assert receipts["done_at"].null_count() == 0
    rows = dict(receipts.filter(pl.col("kind") == "table").select("name", "rows").iter_rows())
    assert rows["identity.links"] == len(records) and rows["identity.customers"] == 1 and rows["customer.orders"] > 0

    kept = older(home)
    for path, export in exports.items():
        path.write_bytes(export)
    run_home(root, "--no-sample")
    assert all(held <= older(home)[what] for what, held in kept.items()), "what is kept out was never in any of it"
    assert found_in(home, told) == {}
    assert home.read("erasure.receipts")["done_at"].null_count() == 0


def somebody(home: Home) -> tuple[str, list[str]]:
    """A customer who bought, of as many records as any, one of them in the CRM's exports."""
    bought = home.read("customer.orders").select("customer_id").drop_nulls().unique()
    theirs = home.read("identity.links").join(bought, on="customer_id", how="semi")
    sizes = theirs.group_by("customer_id").agg("record_id", crm=pl.col("record_id").str.starts_with("crm:").any())
    chosen = sizes.filter("crm").sort(pl.col("record_id").list.len(), "customer_id").tail(1)
    return chosen["customer_id"][0], sorted(chosen["record_id"][0].to_list())


def told_of(home: Home, records: list[str]) -> list[str]:
    """Ids and e-mail addresses of some records, in lower case: those that nobody else has."""
    people = pl.concat([home.read(f"raw.{name}").select("source", "source_id", "email") for name in PEOPLE])
    own = pl.concat_str("source", "source_id", separator=":").is_in(records)
    others = people.filter(~own)["email"].str.to_lowercase().unique()
    mails = people.filter(own)["email"].drop_nulls().str.to_lowercase().unique()
    return [*mails.filter(~mails.is_in(others.implode())), *(record.split(":")[1].lower() for record in records)]
