"""Laws that hold for any content of a file."""

import datetime as dt
import gzip
import io

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.feeds import Delivery, list_drops, read_drops

from .conftest import ZONE, Content, Read, declare, write

NAME = "Zaphod Beeblebrox"
DAY = dt.date(2024, 1, 2)
MEMBERS = declare("loyalty_members")

_rows = pl.DataFrame(
    {
        "source": ["crm", "crm", None, "web", "crm"],
        "source_id": ["1", "2", "3", "4", "1"],
        "surname": [NAME, f'"{NAME}"', NAME, f"{NAME}\n", NAME],
        "updated_at": ["2024-01-01", NAME, "2024-01-01T10:00:00Z", None, "2025-01-01"],
    }
)


def _parquet(rows: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    rows.write_parquet(buffer, compression="uncompressed")
    return buffer.getvalue()


_WHOLE: dict[str, bytes] = {
    "csv": _rows.write_csv().encode(),
    "csv.gz": gzip.compress(_rows.write_csv().encode(), mtime=0),
    "ndjson": _rows.write_ndjson().encode(),
    "parquet": _parquet(_rows),
}


@st.composite
def _mutated(draw: st.DrawFn) -> tuple[str, bytes]:
    """A whole file in which a few bytes were changed, left out or put in, or that was cut short."""
    ending = draw(st.sampled_from(sorted(_WHOLE)))
    content = bytearray(_WHOLE[ending])
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(content)))
        content[at : at + draw(st.integers(0, 8))] = draw(
            st.one_of(st.binary(max_size=4), st.sampled_from([b'"', b"\n", b"\r", b",", b"{", b"\xff", b"\x00"]))
        )
    return ending, bytes(content[: draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))])


def _is_accounted_for(delivery: Delivery) -> None:
    files = delivery.files
    assert (files["delivered"] == files["accepted"] + files["rejected"]).all()
    assert files["accepted"].sum() == delivery.accepted.height
    assert files["rejected"].sum() == delivery.rejects.height
    places = pl.concat([frame.select("file", "file_line") for frame in (delivery.accepted, delivery.rejects)])
    assert places.is_unique().all()
    assert (places["file_line"] >= 1).all()


@given(_mutated())
@settings(deadline=None, max_examples=150)
def test_a_damaged_file_is_refused_or_accounted_for_row_by_row(read: Read, mutated: tuple[str, bytes]):
    ending, content = mutated
    delivery = read(MEMBERS, {f"{DAY}.{ending}": content})

    _is_accounted_for(delivery)
    assert NAME not in "".join([*delivery.rejects["reason"], *delivery.refused])
    assert all(told.startswith(f"loyalty_members/{DAY}.{ending}: ") for told in delivery.refused)


@given(st.text(alphabet=st.sampled_from('a1,"\n\r\t\0 ;é\x85\u2028'), max_size=60))
@settings(deadline=None, max_examples=150)
def test_whatever_follows_a_csv_header_is_accounted_for(read: Read, body: str):
    feed = declare("demographics")
    delivery = read(feed, {f"{DAY}.csv": "source,source_id\n" + body})

    _is_accounted_for(delivery)


@given(st.lists(st.tuples(*[st.text(st.characters(exclude_categories=["Cs"]), max_size=5)] * 3), max_size=8))
@settings(deadline=None, max_examples=60)
def test_what_a_csv_writer_wrote_is_read_back(read: Read, values: list[tuple[str, str, str]]):
    rows = pl.DataFrame(
        [("crm", f"{n}", *texts) for n, texts in enumerate(values)],
        schema=dict.fromkeys(("source", "source_id", "given_name", "surname", "city"), pl.String),
        orient="row",
    )
    delivery = read(MEMBERS, {f"{DAY}.csv": rows.write_csv(quote_style="always")})

    stripped = rows.with_columns(pl.all().str.strip_chars()).with_columns(pl.all().replace("", None))
    assert delivery.files["delivered"].item() == len(values)
    assert delivery.rejects.is_empty()
    assert delivery.accepted.select(rows.columns).equals(stripped)


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=30)
def test_noise_is_refused_or_rejected(read: Read, noise: bytes):
    for ending in _WHOLE:
        _is_accounted_for(read(MEMBERS, {f"{DAY}.{ending}": noise}))


@given(_mutated(), _mutated())
@settings(deadline=None, max_examples=40)
def test_reading_again_gives_the_same_rows(read: Read, one: tuple[str, bytes], two: tuple[str, bytes]):
    files: dict[str, Content] = {f"{DAY}.one.{one[0]}": one[1], f"{DAY}.two.{two[0]}": two[1]}
    again: dict[str, Content] = dict(reversed(files.items()))
    first, second = read(MEMBERS, files), read(MEMBERS, again)

    assert first.accepted.equals(second.accepted)
    assert first.rejects.equals(second.rejects)
    assert first.files.equals(second.files)


@given(st.permutations(range(4)))
@settings(deadline=None, max_examples=10)
def test_the_order_in_which_drops_are_named_changes_nothing(tmp_path_factory: pytest.TempPathFactory, order: list[int]):
    landing = tmp_path_factory.mktemp("landing")
    for ending, content in _WHOLE.items():
        write(landing / "loyalty_members" / f"{DAY}.{ending}", content)
    drops = list_drops(landing, "loyalty_members")
    named, shuffled = (read_drops(MEMBERS, some, ZONE) for some in (drops, [drops[n] for n in order]))

    assert named.accepted.equals(shuffled.accepted)
    assert named.rejects.equals(shuffled.rejects)
    assert named.files.equals(shuffled.files)
