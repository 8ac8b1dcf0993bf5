from pathlib import Path

import pytest

from cer_assets.feeds import CONTRACTS, Feed, InvalidFeed, catalogue, read_feed

from .conftest import declare


def _yaml(folder: Path, attributes: str, name: str = "products") -> Path:
    path = folder / name / "defs.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"type: a.Component\nattributes:\n{attributes}")
    return path


_GOOD = """
  feed: products
  description: The catalogue.
  delivers: full
  owners: ["team:data"]
  layouts:
    - files: "*"
"""


def test_a_feed_without_a_contract_keeps_the_one_of_its_name(tmp_path: Path):
    assert read_feed(_yaml(tmp_path, _GOOD)).contract == "products"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("  contract: prodcts\n", "attributes.contract: Value error, expected one of customer_record"),
        ("  speed: 3\n", "attributes.speed: Extra inputs are not permitted"),
        ("      delimeter: ';'\n", "attributes.layouts.0.delimeter: Extra inputs"),
        ("      timezone: Mars/Olympus\n", "attributes.layouts.0.timezone"),
        ("      encoding: utf-9\n", "attributes.layouts.0.encoding"),
        ("      delimiter: '||'\n", "attributes.layouts.0.delimiter"),
        ("      delimiter: '\"'\n", "attributes.layouts.0.delimiter"),
        ("      decimal: ';'\n", "attributes.layouts.0.decimal"),
        ("      columns: {titel: NAME}\n", "layouts.0.columns: titel is no column of the contract products"),
        ("      constants: {file: x}\n", "layouts.0.constants: file is no column of the contract products"),
        ("      columns: {brand: B}\n      constants: {brand: b}\n", "attributes.layouts.0: Value error, brand"),
    ],
)
def test_a_mistake_is_told_with_file_and_field(tmp_path: Path, changed: str, message: str):
    path = _yaml(tmp_path, (changed + _GOOD.lstrip("\n")) if changed.startswith("  c") else _GOOD + changed)

    with pytest.raises(InvalidFeed) as error:
        read_feed(path)

    assert str(error.value).startswith(str(path))
    assert message in str(error.value)


def test_a_missing_field_is_told(tmp_path: Path):
    with pytest.raises(InvalidFeed, match=r"defs\.yaml: attributes\.delivers: Field required"):
        read_feed(_yaml(tmp_path, _GOOD.replace("  delivers: full\n", "")))


def test_what_is_no_yaml_or_no_feed_is_told(tmp_path: Path):
    with pytest.raises(InvalidFeed, match="expected YAML"):
        read_feed(_yaml(tmp_path, "  feed: ["))
    with pytest.raises(InvalidFeed, match="attributes: expected a mapping"):
        read_feed(_yaml(tmp_path, "  - feed"))


def test_a_feed_lives_in_the_folder_of_its_name(tmp_path: Path):
    with pytest.raises(InvalidFeed, match=r"attributes\.feed: expected shop"):
        read_feed(_yaml(tmp_path, _GOOD, name="shop"))


def test_a_catalogue_is_sorted_and_empty_where_there_is_none(tmp_path: Path):
    _yaml(tmp_path, _GOOD)
    _yaml(tmp_path, _GOOD.replace("feed: products", "feed: a_feed\n  contract: products"), name="a_feed")

    assert list(catalogue(tmp_path)) == ["a_feed", "products"]
    assert catalogue(tmp_path / "nowhere") == {}


def test_the_project_declares_a_feed_for_every_contract(feeds: dict[str, Feed]):
    assert len(feeds) == 14
    assert {feed.contract for feed in feeds.values()} == set(CONTRACTS)
    assert {name for name, feed in feeds.items() if feed.partitions} == {"transactions", "events"}


def test_the_first_layout_whose_pattern_matches_reads_a_file():
    feed = declare("products", layouts=[{"files": "*.old.csv", "delimiter": ";"}, {"files": "*.csv"}])

    old, new = feed.layout_of("2024-01-01.old.csv"), feed.layout_of("2024-01-01.csv")

    assert old is not None
    assert new is not None
    assert (old.delimiter, new.delimiter) == (";", ",")
    assert feed.layout_of("2024-01-01.parquet") is None


def test_the_version_follows_what_bears_on_the_rows():
    plain = declare("products")

    assert declare("products", description="Said otherwise.").version == plain.version
    assert declare("products", layout={"delimiter": ";"}).version != plain.version
