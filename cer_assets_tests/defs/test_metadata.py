"""What metadata shows of text that a source delivered, and what a code version moves with."""

from pathlib import Path

import polars as pl
import pytest

from cer_assets.defs import io


def test_delivered_text_is_shown_as_text_and_draws_no_link_image_or_column() -> None:
    frame = pl.DataFrame({"category": ["![x](https://elsewhere.example/x.png)", "a | b\nc", "<b>d</b>"]})
    shown = str(io.table(frame).value).splitlines()
    assert len(shown) == 2 + frame.height
    assert shown[2] == r"| !\[x\](https://elsewhere.example/x.png) |"
    assert shown[3] == r"| a \| b c |"
    assert shown[4] == r"| \<b\>d\</b\> |"


@pytest.mark.parametrize(
    ("file", "moves"),
    [
        ("shared.py", True),
        ("stage/a.py", True),
        ("defs/stage/a.py", True),
        ("other/a.py", False),
        ("definitions.py", False),
    ],
)
def test_a_code_version_moves_with_what_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, moves: bool
) -> None:
    monkeypatch.setattr(io, "PACKAGE", tmp_path)
    for one in ("shared.py", "stage/a.py", "defs/stage/a.py", "other/a.py", "definitions.py"):
        (tmp_path / one).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / one).write_text("before")
    before = io.code_of("stage")
    (tmp_path / file).write_text("after")
    assert (io.code_of("stage") != before) is moves
