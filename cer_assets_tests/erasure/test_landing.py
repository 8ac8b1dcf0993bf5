import datetime as dt
import gzip
import io
import re
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.erasure import (
    CannotLookInto,
    Keyed,
    kept_out,
    lines_without_suppressed,
    values_of,
    without_suppressed,
)
from cer_assets.erasure.loading import of_rejects
from cer_assets.feeds import Feed, list_drops, read_drops
from cer_assets_tests.erasure.test_suppression import KEY, suppressing

DAY = dt.date(2024, 1, 2)
FIELDS = {"source_id": "NO", "surname": "NAME", "email": "MAIL"}
OF = suppressing("crm:1")


def people(**layout: object) -> Feed:
    """A feed of customer records of the system crm."""
    given = {"constants": {"source": "crm"}, "columns": FIELDS, **layout}
    return Feed.model_validate(
        {"feed": "people", "contract": "customer_record", "description": "People.", "delivers": "full"}
        | {"owners": ["team:data"], "layouts": [given]}
    )


def cleaned(folder: Path, content: bytes, ending: str = "csv", feed: Feed | None = None) -> bytes:
    """What is left of a file without record crm:1."""
    feed = feed or people()
    (folder / "people").mkdir(exist_ok=True)
    (folder / "people" / f"{DAY}.{ending}").write_bytes(content)
    (drop,) = list_drops(folder, "people")
    found = without_suppressed(feed, drop, OF, "UTC")
    return content if found is None else found.content


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_of_a_record_are_left_blank_and_every_other_byte_stays(tmp_path: Path, encoding: str, end: str) -> None:
    rows = [
        "NO;NAME;MAIL",
        "2;Jürgen;b@x",
        '1;"Ann',
        ' of ""two"" lines";a@x',
        "",
        "3;Cid;c@x",
        "1;Ann;",
        ' 1 ;"Ann"; ',
    ]
    kept = ["NO;NAME;MAIL", "2;Jürgen;b@x", "", "", "", "3;Cid;c@x", "", ""]
    feed = people(delimiter=";", encoding=encoding)
    text, left = (end.join([*part, ""]) for part in (rows, kept))
    assert cleaned(tmp_path, text.encode(encoding), feed=feed).decode(encoding) == left


def test_rows_that_cannot_be_split_or_name_no_record_go_by_any_word_of_them(tmp_path: Path) -> None:
    content = b'NO,NAME,MAIL\n1,Ann\n2,Bob\n"1,Ann\n3,C,c,c,1\n4,Dan,d@x\n'
    assert cleaned(tmp_path, content) == b"NO,NAME,MAIL\n\n2,Bob\n\n\n4,Dan,d@x\n"


def test_a_file_that_names_nobody_on_the_list_is_left_alone(tmp_path: Path) -> None:
    content = b"NO,NAME,MAIL\r2,Bob,11\n10,Ann,1@x"
    assert cleaned(tmp_path, content) == content


def test_ndjson_lines_go_whether_they_are_sound_or_not(tmp_path: Path) -> None:
    content = b'{"NO":1,"NAME":"Ann"}\r\n{"NO":"2"}\n{"NO":"1"\n[1]\n{"NO":"12","NAME":1}'
    assert cleaned(tmp_path, content, "ndjson") == b'\n{"NO":"2"}\n\n\n{"NO":"12","NAME":1}'


def test_packed_files_are_packed_again(tmp_path: Path) -> None:
    content = gzip.compress(b"NO,NAME,MAIL\n1,Ann,\n2,Bob,\n")
    assert gzip.decompress(cleaned(tmp_path, content, "csv.gz")) == b"NO,NAME,MAIL\n\n2,Bob,\n"


def test_parquet_rows_close_up_and_keep_their_types(tmp_path: Path) -> None:
    rows = pl.DataFrame({"NO": [1, 2, 11], "NAME": ["Ann", "Bob", None], "x": [dt.date(2024, 1, 1)] * 3})
    buffer = io.BytesIO()
    rows.write_parquet(buffer)
    left = pl.read_parquet(cleaned(tmp_path, buffer.getvalue(), "parquet"))
    assert left.equals(rows[1:]) and left.schema == rows.schema


def test_a_text_that_is_no_drop_loses_its_lines_and_what_is_no_text_is_told() -> None:
    found = lines_without_suppressed("people/notes.txt", b"call crm:1 back\nand Bob\n", OF)
    assert found is not None and found.content == b"\nand Bob\n" and found.rows == {"crm:1": 1}
    with pytest.raises(CannotLookInto, match=r"notes\.zip"):
        lines_without_suppressed("people/notes.zip", b"PK\0\1", OF)


def test_a_short_id_takes_a_line_only_with_a_second_sign_and_leaves_a_doubt_alone() -> None:
    keyed = Keyed.with_key(KEY)
    said = pl.DataFrame({"request": ["crm:12"], "full_name": ["Ann Doe"], "email": ["a@x.de"]})
    of = suppressing("crm:12", "crm:C12345").with_more(values_of(keyed, said))
    others, own = b"12 boxes\n", b"12 by CRM\n12, a@x.de\n12 Doe\ncrm:12\nC12345\n"
    found = lines_without_suppressed("people/notes.txt", others + own, of)
    assert found is not None and found.content == others + b"\n" * 5 and found.doubtful
    found = lines_without_suppressed("people/notes.txt", own, of)
    assert found is not None and not found.doubtful
    with pytest.raises(CannotLookInto, match=r"notes\.txt: 1 lines"):
        lines_without_suppressed("people/notes.txt", others, of)
    assert lines_without_suppressed("people/notes.txt", b"13 Doe\n", of) is None


def test_what_a_load_would_refuse_for_its_size_is_not_looked_into_either(tmp_path: Path) -> None:
    (tmp_path / "people").mkdir()
    content = b"NO,NAME,MAIL\n1,Ann,\n" * 100
    for name, held in (("2024-01-02.csv", content), ("2024-01-03.csv.gz", gzip.compress(content))):
        (tmp_path / "people" / name).write_bytes(held)
    for drop in list_drops(tmp_path, "people"):
        with pytest.raises(CannotLookInto, match=r"people/2024-01-0.*CER_DROP_MB"):
            without_suppressed(people(), drop, OF, "UTC", most_bytes=1_500)
    with pytest.raises(CannotLookInto, match=r"notes\.txt.*15 lines"):
        lines_without_suppressed("people/notes.txt", b"1\n" * 100, OF, most_bytes=1_500)


_VALUE = st.sampled_from(["1", "2", "11", "Ann", 'say "1"', "a\nb", " 1", "", "1;2", "ü"])


@settings(deadline=None, max_examples=40)
@given(rows=st.lists(st.tuples(_VALUE, _VALUE, _VALUE), max_size=8), torn=st.integers(0, 200))
def test_what_is_left_reads_as_the_file_did_without_those_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], torn: int
) -> None:
    """Of a file cut anywhere, the rows and rejects of everybody else are the same, on the same lines."""
    folder, feed = tmp_path_factory.mktemp("landing"), people()
    content = pl.DataFrame(rows, schema=dict.fromkeys(FIELDS.values(), pl.String), orient="row").write_csv().encode()
    content = content[: max(len(content) - torn, len(b"NO,NAME,MAIL\n"))] if torn > 100 else content
    (folder / "people").mkdir()
    path = folder / "people" / f"{DAY}.csv"
    path.write_bytes(content)
    before = kept_out(feed, read_drops(feed, list_drops(folder, "people"), "UTC"), OF)
    path.write_bytes(cleaned(folder, content))
    after = read_drops(feed, list_drops(folder, "people"), "UTC")

    assert of_rejects(feed, after.rejects, OF).is_null().all()
    assert OF.of_rows(after.accepted).is_null().all()
    assert after.accepted.equals(before.accepted)
    assert before.files.select(pl.col("delivered") - pl.col("suppressed")).item() >= after.files["delivered"].item()
    assert after.files.select((pl.col("delivered") == pl.col("accepted") + pl.col("rejected")).all()).item()


_PIECES = st.sampled_from([b"\r", b"\n", b"\r\n", b"1", b"crm:1", b"b", b" ", b"\xc3", "ü".encode(), "\u2028".encode()])


@settings(deadline=None, max_examples=200)
@given(pieces=st.lists(_PIECES, max_size=12))
def test_lines_are_those_that_end_with_a_line_feed_a_carriage_return_or_both(pieces: list[bytes]) -> None:
    content = b"".join(pieces)
    lines = re.findall(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", content)
    found, _ = OF.of_lines(pl.Series([line.decode(errors="replace") for line in lines], dtype=pl.String))
    gone = found.is_not_null()
    left = b"".join(line[len(line.rstrip(b"\r\n")) :] if goes else line for line, goes in zip(lines, gone, strict=True))
    try:
        told = lines_without_suppressed("people/notes.txt", content, OF)
    except CannotLookInto:  # it leaves a doubt, and nothing else
        told = None
    assert (content if told is None else told.content) == left


@settings(deadline=None, max_examples=100)
@given(pieces=st.lists(st.sampled_from([b"\r", b"\n", b'{"NO":1}', b'{"NO":2}', b"[1", b" "]), max_size=12))
def test_of_ndjson_every_byte_stays_but_those_of_lines_that_go(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]
) -> None:
    content, folder = b"".join(pieces), tmp_path_factory.mktemp("landing")
    lines = re.findall(rb"[^\n]*\n|[^\n]+", content)
    left = re.findall(rb"[^\n]*\n|[^\n]+", cleaned(folder, content, "ndjson"))
    ends = {line: b"\n" if line.endswith(b"\n") else b"" for line in lines}
    kept = iter(left)
    assert all(next(kept, b"") in (line, ends[line]) for line in lines) and next(kept, None) is None


def test_a_layout_is_looked_up_once_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    feed, asked = people(), list[str]()
    layout_of = Feed.layout_of

    def counting(self: Feed, name: str) -> object:
        asked.append(name)
        return layout_of(self, name)

    monkeypatch.setattr(Feed, "layout_of", counting)
    files = ["b.csv", "a.csv", "b.csv", "unknown.txt"] * 10
    content = ['{"NO":"2"}', '{"NO":"1"}', '{"NO":"1"}', "x"] * 10
    found = of_rejects(feed, pl.DataFrame({"file": files, "content": content}), OF)
    assert found.to_list() == [None, "crm:1", "crm:1", None] * 10
    assert sorted(asked) == ["a.csv", "b.csv", "unknown.txt"]
