"""The landing zone on a real S3 server: what a folder tells, an object store tells too."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from s3fs import S3FileSystem
from upath import UPath

from cer_assets.feeds import (
    Drop,
    fingerprint,
    landing_zone,
    list_drops,
    read_drops,
    unknown_names,
    unreadable_names,
    write,
)
from cer_assets_tests.e2e import s3

from .conftest import ZONE, declare

FEED = declare("erasure_requests")
CONTENT = b"source,source_id,at\ncrm,1,2024-01-01\n"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UPath]:
    """A landing zone in a bucket; endpoint and credentials are in the environment alone."""
    if not s3.installed():
        pytest.skip("moto and flask are of the dev extra")
    log = tmp_path_factory.mktemp("s3") / "log"
    with pytest.MonkeyPatch.context() as patch, s3.server(log) as environment:
        for name, value in environment.items():
            patch.setenv(name, value)
        S3FileSystem.clear_instance_cache()
        yield landing_zone(f"s3://{s3.BUCKET}/landing")
        S3FileSystem.clear_instance_cache()


@pytest.fixture(params=["folder", "store"])
def landing(request: pytest.FixtureRequest, tmp_path: Path) -> UPath:
    """An empty landing zone of either kind."""
    if request.param == "folder":
        return landing_zone(tmp_path)
    store: UPath = request.getfixturevalue("store")
    return store / request.node.name.replace("[", "-").strip("]")


def put(landing: UPath, name: str, content: bytes = CONTENT) -> None:
    """Drop a file, as a source system does."""
    path = landing / FEED.feed / name
    if isinstance(path, Path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write(path, content)


def test_drops_are_listed_and_read_alike(landing: UPath):
    assert list_drops(landing, FEED.feed) == []
    for name in ("2024-01-02.csv", "2024-01-01.late.csv", ".2024-01-03.csv", "2024-01-04.csv.part", "export.csv"):
        put(landing, name)
    write(landing / "strange", b"a file that went astray")

    drops = list_drops(landing, FEED.feed)

    assert [(drop.name, drop.bytes) for drop in drops] == [("2024-01-01.late.csv", 37), ("2024-01-02.csv", 37)]
    assert unreadable_names(landing, FEED.feed) == ["export.csv"]
    assert unknown_names(landing, [FEED.feed]) == ["strange"]
    assert unknown_names(landing, []) == [FEED.feed, "strange"]
    delivery = read_drops(FEED, drops, ZONE)
    assert delivery.files["fingerprint"].to_list() == [fingerprint(drop) for drop in drops]
    assert delivery.accepted.height == 2


def test_what_came_since_the_last_look_is_seen_by_the_same_process(landing: UPath):
    put(landing, "2024-01-01.csv")
    assert [drop.name for drop in list_drops(landing, FEED.feed)] == ["2024-01-01.csv"]
    put(landing, "2024-01-02.csv")
    (landing / FEED.feed / "2024-01-01.csv").unlink()

    assert [drop.name for drop in list_drops(landing, FEED.feed)] == ["2024-01-02.csv"]


def test_a_mark_moves_with_the_file_and_stands_still_with_it(landing: UPath):
    put(landing, "2024-01-01.csv")
    (before,) = list_drops(landing, FEED.feed)
    assert before.mark == list_drops(landing, FEED.feed)[0].mark
    assert before.modified > 1_500_000_000
    put(landing, "2024-01-01.csv", CONTENT.replace(b"1", b"2", 1))

    (after,) = list_drops(landing, FEED.feed)

    assert after.bytes == before.bytes
    assert after.mark != before.mark


def test_a_file_that_went_since_it_was_listed_is_refused_and_no_other_with_it(landing: UPath):
    put(landing, "2024-01-01.csv")
    put(landing, "2024-01-02.csv")
    drops = list_drops(landing, FEED.feed)
    (landing / FEED.feed / "2024-01-01.csv").unlink()

    delivery = read_drops(FEED, drops, ZONE)

    assert "2024-01-01.csv: it cannot be opened (FileNotFoundError)" in delivery.refused[0]
    assert delivery.accepted["file"].to_list() == ["2024-01-02.csv"]
    assert [fingerprint(drop) == "" for drop in drops] == [True, False]


@pytest.mark.parametrize("fault", [ConnectionResetError, TimeoutError])
def test_a_file_whose_store_does_not_answer_is_not_refused(
    landing: UPath, fault: type[OSError], monkeypatch: pytest.MonkeyPatch
):
    put(landing, "2024-01-01.csv")
    drops = list_drops(landing, FEED.feed)

    def away(*_: object, **__: object) -> bytes:
        raise fault

    monkeypatch.setattr(type(drops[0].path), "open", away)
    monkeypatch.setattr(type(drops[0].path), "read_bytes", away)
    with pytest.raises(fault):
        read_drops(FEED, drops, ZONE)
    with pytest.raises(fault):
        fingerprint(drops[0])


def test_a_feed_is_listed_by_one_request(store: UPath, monkeypatch: pytest.MonkeyPatch):
    landing = store / "one_request"
    for day in range(1, 29):
        put(landing, f"2024-01-{day:02}.csv")
    asked: list[str] = []
    call = S3FileSystem._call_s3  # pyright: ignore[reportPrivateUsage]

    async def counted(fs: S3FileSystem, method: str, *arguments: object, **named: object) -> object:
        asked.append(method)
        return await call(fs, method, *arguments, **named)

    monkeypatch.setattr(S3FileSystem, "_call_s3", counted)
    drops: list[Drop] = list_drops(landing, FEED.feed)

    assert len(drops) == 28
    assert asked == ["list_objects_v2"]
