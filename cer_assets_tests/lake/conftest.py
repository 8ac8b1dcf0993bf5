"""A lake in a temporary folder, and a small frame of two days."""

import datetime as dt
import itertools
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from s3fs import S3FileSystem

from cer_assets.lake import Lake
from cer_assets_tests.e2e import s3

DAY = dt.date(2017, 1, 1)


def day(number: int) -> dt.date:
    return DAY + dt.timedelta(days=number)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """A real S3 server process; the variables of the environment under which it is found."""
    if not s3.installed():
        pytest.skip("moto's server is not installed")
    with s3.server(tmp_path_factory.mktemp("s3") / "log") as variables:
        yield variables


_lakes = itertools.count()


@pytest.fixture(params=["folder", "s3"])
def either_lake(request: pytest.FixtureRequest, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A lake in a folder, and one on `s3://`."""
    if request.param == "folder":
        return lake
    for name, value in request.getfixturevalue("s3_server").items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()
    return Lake(f"s3://{s3.BUCKET}/lake{next(_lakes)}")


@pytest.fixture
def two_days() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "as_of": [day(0), day(0), day(1)],
            "customer_id": ["a", "b", "c"],
            "monetary": [Decimal("1.20"), None, Decimal("3.00")],
            "seen_at": [dt.datetime(2017, 1, 1, 12)] * 3,
            "share": [0.5, None, 2.0],
        },
        schema_overrides={"monetary": pl.Decimal(18, 2)},
    )
