"""Time and memory from ten thousand to a million generated people: ours beside Splink, and a picture of both.

With `--picture` the figures that an earlier run printed are read from a file and only drawn.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl
from identity_sets import why_absent
from measuring import ROOT, alone, ratio, report, report_skipped

SIZES = {"people_10k": 10_000, "people_100k": 100_000, "people_1m": 1_000_000}
SIDES = {"ours": "ours", "splink": "Splink"}
FIGURES = {"seconds": "seconds, training and resolving", "peak_gb": "peak memory, GB"}
PICTURE = ROOT / "docs" / "growth.png"
COLOURS = ["#1f5f8b", "#c8761d"]
BENCHMARK = "identity, growth"


def main() -> None:
    """Measure and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", type=Path, help="a file with what this benchmark printed")
    asked = parser.parse_args()
    absent = why_absent(next(iter(SIZES)))
    if absent is not None:
        report_skipped(BENCHMARK, absent)
    elif asked.picture:
        draw(json.loads(asked.picture.read_text(encoding="utf-8"))["sizes"])
    else:
        sizes = {name: of_size(name) for name in SIZES}
        draw(sizes)
        report(BENCHMARK, ["duckdb", "polars", "splink"], {"sizes": sizes})


def of_size(name: str) -> dict[str, Any]:
    """One run of each side."""
    script = str(Path(__file__).with_name("bench_identity.py"))
    runs = {side: alone(script, name, "--side", side, "--seed", "0") for side in SIDES}
    ratios = {figure: ratio(runs["ours"][figure], runs["splink"][figure]) for figure in ("seconds", "peak_mb")}
    return {**runs, "ratios, ours over splink": ratios}


def draw(sizes: dict[str, Any]) -> None:
    """Seconds and memory over the number of records, both axes logarithmic."""
    rows = [
        (SIZES[name], SIDES[side], run["seconds"], run["peak_mb"] / 1e3)
        for name, sides in sizes.items()
        for side, run in sides.items()
        if side in SIDES
    ]
    frame = pl.DataFrame(rows, schema=["records", "side", *FIGURES], orient="row")
    panels = [_panel(frame, figure, title) for figure, title in FIGURES.items()]
    alt.hconcat(*panels).configure_view(stroke=None).configure_axis(grid=True, gridColor="#eeeeee").save(
        PICTURE, scale_factor=2
    )


def _panel(frame: pl.DataFrame, figure: str, title: str) -> Any:
    limits = [min(SIZES.values()) * 0.7, max(SIZES.values()) * 1.4]
    at_sizes = alt.Axis(values=list(SIZES.values()), format="~s")
    x = alt.X("records:Q", title="records", scale=alt.Scale(type="log", domain=limits, nice=False), axis=at_sizes)
    y = alt.Y(f"{figure}:Q", title=None, scale=alt.Scale(type="log"))
    colour = alt.Color("side:N", title=None, scale=alt.Scale(domain=list(SIDES.values()), range=COLOURS))
    # The greater figure of a size stands above its point, the lesser one below, so that they do not meet.
    greater = pl.col(figure) == pl.col(figure).max().over("records")
    base, above, below = (
        alt.Chart(rows, width=280, height=220, title=title).encode(x=x, y=y, color=colour)
        for rows in (frame, frame.filter(greater), frame.filter(~greater))
    )
    text = alt.Text(f"{figure}:Q", format=".2~r")
    return base.mark_line(point=True) + above.mark_text(dy=-11).encode(text) + below.mark_text(dy=13).encode(text)


if __name__ == "__main__":
    main()
