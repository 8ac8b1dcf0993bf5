from pathlib import Path

import numpy as np
import polars as pl

from cer_assets.defs.identity.index_file import former_index, keep_index
from cer_assets.identity import Index


def index(basis: str, records: int) -> Index:
    numbers = np.arange(records, dtype=np.uint64)
    return Index(
        basis=basis,
        record_ids=pl.Series("record_id", [f"crm:{n}" for n in range(records)]),
        seen=numbers,
        fingerprints=pl.Series([f"f{n}" for n in range(records)]),
        keys=np.stack([numbers] * 11),
        values=np.stack([numbers, numbers]),
        holders=np.ones((2, records), dtype=np.int32),
    )


def test_the_last_index_is_the_one_that_is_read_and_the_only_file(tmp_path: Path) -> None:
    folder = tmp_path / "caches"
    assert former_index(folder) is None
    for kept in (index("a", 3), index("b", 4), index("b", 5)):
        keep_index(folder, kept)
        assert former_index(folder) == kept
        assert len(list(folder.iterdir())) == 1


def test_an_index_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    keep_index(tmp_path, index("a", 3))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:50])
    assert former_index(tmp_path) is None
    keep_index(tmp_path, index("b", 2))
    assert former_index(tmp_path) == index("b", 2)
