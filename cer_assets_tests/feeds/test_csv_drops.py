import gzip
import json
import re

import polars as pl
import pytest

from cer_assets.feeds import Delivery, csv_format

from .conftest import Content, Read, declare

REQUESTS = declare("erasure_requests")
DAY = "2024-01-02.csv"
HEADER = "source,source_id,at\n"


def _ids(delivery: Delivery) -> list[tuple[str, int]]:
    return delivery.accepted.select("source_id", "file_line").rows()


def _rejects(delivery: Delivery) -> list[tuple[int, str | None, str]]:
    return delivery.rejects.select("file_line", "column", "reason").rows()


def test_a_file_reads_with_its_physical_lines(read: Read):
    delivery = read(REQUESTS, {DAY: HEADER + "crm,1,2024-01-01\n\ncrm,2,2024-01-01\r\ncrm,3,2024-01-01"})

    assert _ids(delivery) == [("1", 2), ("2", 4), ("3", 5)]
    assert delivery.files.select("delivered", "accepted", "rejected").row(0) == (3, 3, 0)


def test_a_header_without_rows_is_a_delivery_of_none(read: Read):
    delivery = read(REQUESTS, {DAY: HEADER})

    assert delivery.files.select("delivered", "accepted", "rejected").row(0) == (0, 0, 0)
    assert delivery.accepted.height == 0


@pytest.mark.parametrize("name", [DAY, "2024-01-02.csv.gz"])
def test_a_quoted_field_may_hold_delimiters_quotes_and_line_ends(read: Read, name: str):
    delivery = read(REQUESTS, {name: HEADER + 'crm,"1,""a""\r\nb\n\nc",2024-01-01\ncrm,2,2024-01-01\n'})

    assert _ids(delivery) == [('1,"a"\r\nb\n\nc', 2), ("2", 6)]
    assert delivery.files["delivered"].item() == 2


def test_a_quote_inside_an_unquoted_field_is_a_character(read: Read):
    assert _ids(read(REQUESTS, {DAY: HEADER + 'crm,5" disk,2024-01-01\n'})) == [('5" disk', 2)]


@pytest.mark.parametrize(
    "broken",
    ['crm,"2,2024-01-01', 'crm,"2"x,2024-01-01', '"crm,2,2024-01-01', 'crm,2,"2024-01-01'],
)
@pytest.mark.parametrize("after", ["crm,3,2024-01-01\n", 'crm,"3",2024-01-01\n', ""])
def test_broken_quotes_cost_one_line_and_no_more(read: Read, broken: str, after: str):
    delivery = read(REQUESTS, {DAY: HEADER + "crm,1,2024-01-01\n" + broken + "\n" + after})

    assert _ids(delivery) == [("1", 2)] + [("3", 4)] * bool(after)
    assert delivery.rejects.select("file_line", "column").rows() == [(3, None)]
    assert delivery.rejects["reason"].item().startswith("expected each quote closed at its field's end")
    assert json.loads(delivery.rejects["content"].item()) == {"line": broken}
    assert delivery.files["delivered"].item() == 2 + bool(after)


def test_an_open_quote_before_many_lines_costs_one_line(read: Read):
    many = "".join(f"crm,{n},2024-01-01\n" for n in range(20_000))
    delivery = read(REQUESTS, {DAY: HEADER + 'crm,"x,2024-01-01\n' + many})

    assert delivery.files.select("delivered", "accepted", "rejected").row(0) == (20_001, 20_000, 1)
    assert delivery.accepted["file_line"].to_list() == list(range(3, 20_003))


def test_a_field_that_never_ends_costs_its_line(read: Read):
    delivery = read(REQUESTS, {DAY: HEADER + f"crm,{'1' * 200_000},2024-01-01\ncrm,2,2024-01-01\n"})

    assert _ids(delivery) == [("2", 3)]
    assert delivery.rejects["reason"].item().endswith("no field of more than 131072 characters")


def test_rows_with_too_many_or_too_few_fields_are_rejected(read: Read):
    delivery = read(REQUESTS, {DAY: HEADER + 'crm,1\ncrm,2,2024-01-01,\ncrm,"3\n4"\n'})

    assert _rejects(delivery) == [
        (2, None, "expected 3 fields, found 2"),
        (3, None, "expected 3 fields, found 4"),
        (4, None, "expected 3 fields, found 2 on 2 lines: a quote may be left open"),
    ]
    assert json.loads(delivery.rejects["content"][1]) == {"fields": ["crm", "2", "2024-01-01", ""]}
    assert delivery.files["delivered"].item() == 3


def test_bytes_of_another_encoding_cost_their_row(read: Read):
    content = HEADER.encode() + b"crm,\xe4,2024-01-01\n" + "crm,ä,2024-01-01\n".encode()
    delivery = read(REQUESTS, {DAY: content})

    assert _ids(delivery) == [("ä", 3)]
    assert _rejects(delivery) == [(2, "source_id", "expected text in the encoding utf-8")]


def test_a_replacement_character_that_was_delivered_is_a_character(read: Read):
    assert _ids(read(REQUESTS, {DAY: HEADER + "crm,\N{REPLACEMENT CHARACTER},2024-01-01\n"})) == [
        ("\N{REPLACEMENT CHARACTER}", 2)
    ]


@pytest.mark.parametrize(
    ("encoding", "mark"), [("cp1252", b""), ("utf-8", b"\xef\xbb\xbf"), ("utf-16", b""), ("latin-1", b"")]
)
def test_a_layout_says_which_encoding_it_writes(read: Read, encoding: str, mark: bytes):
    feed = declare("erasure_requests", layout={"encoding": encoding})
    content = mark + (HEADER + "crm,Zoë,2024-01-01\n").encode(encoding)

    assert _ids(read(feed, {DAY: content})) == [("Zoë", 2)]


def test_columns_no_contract_asks_for_are_ignored_and_told(read: Read):
    delivery = read(REQUESTS, {DAY: "x,source,y,source_id,at,,x\n1,crm,2,3,2024-01-01,4,5\n"})

    assert delivery.ignored == ("x", "y")
    assert delivery.absent == ()
    assert _ids(delivery) == [("3", 2)]


def test_a_descriptive_column_may_be_missing_and_is_told(read: Read):
    delivery = read(declare("weather"), {DAY: "day,place,rain\n2024-01-01,Oslo,0.5\n"})

    assert delivery.accepted.select("temperature", "rain").row(0) == (None, 0.5)
    assert delivery.absent == ("temperature",)


_DAMAGED_GZIP = gzip.compress(HEADER.encode(), mtime=0)[:-9]


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        (DAY, "", "it is empty"),
        (DAY, "\n\n", "it is empty"),
        (DAY, "source,at\n", "required columns are missing: source_id"),
        (DAY, "source;source_id;at\n", "them among the 1 columns found"),
        (DAY, HEADER.encode("utf-16"), "required columns are missing"),
        (DAY, "source,source_id,at,at\n", "its header repeats at"),
        (DAY, 'source,"source_id,at\ncrm,1,2024-01-01\n', "its header breaks its quotes"),
        (DAY + ".gz", HEADER.encode(), "it cannot be decompressed"),
        (DAY + ".gz", _DAMAGED_GZIP, "it cannot be decompressed"),
    ],
)
def test_a_file_without_a_usable_header_is_refused(read: Read, name: str, content: Content, fault: str):
    (told,) = read(REQUESTS, {name: content}).refused

    assert told.startswith(f"erasure_requests/{name}: ")
    assert fault in told
    assert "expected" in told


def test_a_refusal_does_not_tell_what_stands_in_place_of_a_header(read: Read):
    delivery = read(REQUESTS, {DAY: "crm,Zaphod Beeblebrox,2024-01-01\ncrm,Zaphod Beeblebrox,2024-01-01\n"})

    assert delivery.refused
    assert "Zaphod" not in delivery.refused[0]


def test_every_unusable_file_is_named_and_the_others_are_read(read: Read):
    files = {"2024-01-01.csv": "", DAY: HEADER + "crm,1,2024-01-01\n", "2024-01-03.parquet": b"PAR1"}
    delivery = read(REQUESTS, files)

    assert [told.split(":")[0] for told in delivery.refused] == [
        "erasure_requests/2024-01-01.csv",
        "erasure_requests/2024-01-03.parquet",
    ]
    assert delivery.accepted["file"].to_list() == [DAY]
    assert delivery.files.select("file", "delivered", "bytes", pl.col("refused").is_null()).rows() == [
        ("2024-01-01.csv", 0, 0, False),
        (DAY, 1, 37, True),
        ("2024-01-03.parquet", 0, 4, False),
    ]


def test_a_file_no_layout_reads_is_refused(read: Read):
    feed = declare("erasure_requests", layout={"files": "*.export.csv"})

    (told,) = read(feed, {DAY: HEADER}).refused
    assert re.search(r"no layout reads a file of this name; expected one of.*\*\.export\.csv", told)


def test_records_are_the_same_however_many_are_taken_at_once(read: Read, monkeypatch: pytest.MonkeyPatch):
    content = HEADER + 'crm,"1\n2",2024-01-01\n\ncrm,3\ncrm,"4,2024-01-01\ncrm,5,2024-01-01\ncrm,"6\r\n",2024-01-01\n'
    whole = read(REQUESTS, {DAY: content})
    monkeypatch.setattr(csv_format, "_RECORDS_AT_ONCE", 1)
    single = read(REQUESTS, {DAY: content})

    assert whole.accepted.equals(single.accepted)
    assert whole.rejects.equals(single.rejects)
    assert whole.files.drop("bytes").equals(single.files.drop("bytes"))
