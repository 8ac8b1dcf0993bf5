import datetime as dt
import hashlib
from pathlib import Path

import pytest

from cer_assets.feeds import Drop, fingerprint, list_drops, unknown_names, unreadable_names


def _touch(landing: Path, *names: str) -> None:
    for name in names:
        path = landing / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content")


def test_drops_are_listed_by_day_then_name(tmp_path: Path):
    _touch(tmp_path, "events/2024-01-02.ndjson", "events/2024-01-01.b.csv.gz", "events/2024-01-01.a.b.parquet")

    drops = list_drops(tmp_path, "events")

    assert [(d.day, d.name, d.format, d.bytes) for d in drops] == [
        (dt.date(2024, 1, 1), "2024-01-01.a.b.parquet", "parquet", 7),
        (dt.date(2024, 1, 1), "2024-01-01.b.csv.gz", "csv.gz", 7),
        (dt.date(2024, 1, 2), "2024-01-02.ndjson", "ndjson", 7),
    ]


@pytest.mark.parametrize("name", [".2024-01-01.csv", "2024-01-01.csv.tmp", "2024-01-01.csv.part", ".DS_Store"])
def test_a_file_still_being_written_is_not_there_yet(tmp_path: Path, name: str):
    _touch(tmp_path, f"events/{name}")

    assert list_drops(tmp_path, "events") == []
    assert unreadable_names(tmp_path, "events") == []


@pytest.mark.parametrize(
    "name",
    [
        *("2024-02-30.csv", "20240101.csv", "2024-01-01-late.csv", "2024-01-01.CSV", "2024-01-01.txt"),
        *("2024-01-01", "export.csv", "2024-01-01.csv.zip", "2024-01-01.ndjson.gz", "2024-01-01.csv/part.csv"),
    ],
)
def test_a_name_outside_the_grammar_is_reported_and_not_read(tmp_path: Path, name: str):
    _touch(tmp_path, f"events/{name}")

    assert list_drops(tmp_path, "events") == []
    assert unreadable_names(tmp_path, "events") == [name.split("/")[0]]


def test_a_folder_that_no_feed_has_is_reported(tmp_path: Path):
    _touch(tmp_path, "events/2024-01-01.csv", "evnets/2024-01-01.csv", "lost.csv", ".hidden")

    assert unknown_names(tmp_path, ["events"]) == ["evnets", "lost.csv"]


def test_a_feed_without_a_folder_has_no_drops(tmp_path: Path):
    assert list_drops(tmp_path, "events") == []
    assert unreadable_names(tmp_path, "events") == []


def test_the_fingerprint_follows_the_content(tmp_path: Path):
    _touch(tmp_path, "events/2024-01-01.csv")
    (drop,) = list_drops(tmp_path, "events")
    before = fingerprint(drop)
    drop.path.write_bytes(b"CONTENT")

    assert before == hashlib.sha256(b"content").hexdigest()
    assert fingerprint(drop) == hashlib.sha256(b"CONTENT").hexdigest()


def test_a_drop_of_another_name_has_no_format(tmp_path: Path):
    drop = Drop("events", dt.date(2024, 1, 1), "export.csv", tmp_path / "export.csv", 0)

    with pytest.raises(ValueError, match=r"events/export\.csv: expected the name"):
        _ = drop.format
