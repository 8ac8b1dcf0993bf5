"""What metadata shows of text that a source delivered."""

import polars as pl


def test_delivered_text_is_shown_as_text_and_draws_no_link_image_or_column() -> None:
    from cer_assets.defs.io import table

    frame = pl.DataFrame({"category": ["![x](https://elsewhere.example/x.png)", "a | b\nc", "<b>d</b>"]})
    shown = str(table(frame).value).splitlines()
    assert len(shown) == 2 + frame.height
    assert shown[2] == r"| !\[x\](https://elsewhere.example/x.png) |"
    assert shown[3] == r"| a \| b c |"
    assert shown[4] == r"| \<b\>d\</b\> |"
