"""Which rows of the lake's tables name somebody on the list, and which name somebody else."""

from pathlib import Path

import polars as pl

from cer_assets.erasure.traces import counted, engine, naming, remove
from cer_assets.lake import Lake
from cer_assets_tests.erasure.test_suppression import suppressing


def test_whoever_signs_in_on_a_device_later_keeps_their_visits(tmp_path: Path) -> None:
    lake, of = Lake(str(tmp_path / "lake")), suppressing("crm:1", visitors=("v1",))
    raw = {
        "source": ["crm", "crm", None, None],
        "source_id": ["1", "2", None, None],
        "anonymous_id": ["v1", "v1", "v1", "v2"],
    }
    lake.publish("raw.events", pl.DataFrame(raw).with_columns(file=pl.lit("2017-01-01.csv")))
    lake.publish(
        "customer.events", pl.DataFrame({"customer_id": ["b2", None, None], "anonymous_id": ["v1", "v1", "v2"]})
    )
    with engine(lake, str(tmp_path), "1GB") as con:
        for table, gone in (("raw.events", 2), ("customer.events", 1)):
            found = naming(con, table, of, {})
            assert counted(con, table, found)["rows"].sum() == gone
            remove(con, lake, table, found)
    assert lake.scan("raw.events").collect()["source_id"].to_list() == ["2", None]
    assert lake.scan("customer.events").collect()["customer_id"].to_list() == ["b2", None]
    with engine(lake, str(tmp_path), "1GB") as con:
        assert not any(naming(con, table, of, {}) for table in ("raw.events", "customer.events"))
