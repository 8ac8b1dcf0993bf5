"""Whether a model was fitted with anything of the days it is judged on; what is done about it is decided elsewhere."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cer_assets.recommend.interactions import Interactions, day_baskets, days_since_epoch
from cer_assets.recommend.model import Recommender

LEAKS = {
    "on_or_after_the_cut": "purchases, events and weather that the models hold and that are not before the cut",
    "of_the_test_days": "purchases that the models hold and that are what they are asked for",
    "without_a_line": "purchases that the models hold and that no order line before the cut stands for",
    "copied_lines": "order lines that are a copy of a line of the test days, under whatever date",
}
"""What is counted, and what it means. None may be more than nothing."""
FOUND = {"cut": pl.Date, "leak": pl.String, "rows": pl.Int64}
"""Columns of `leaks`."""
DEEPEST = 6
"""How many steps from a model to what it holds, and on to what that holds, its interactions are looked for."""
SOLD = "basket_id", "product_id", "quantity", "amount"
"""Columns in which a line before the cut and one after it agree where one is a copy of the other under another line."""


def leaks(
    models: Mapping[str, Recommender] | None,
    order_lines: pl.DataFrame,
    cut: date,
    days: int,
    withdrawn: pl.Series | None = None,
) -> pl.DataFrame:
    """Count what fitted models, and the lines they were fitted with, hold of the days from `cut` on.

    Models are believed nothing: every interaction they hold, also those of the models inside them, is compared with the
    order lines as they stand. So a row of the test days is found wherever it was planted: in the training data under
    its own date, there under a forged earlier one (no line stands for it), in the order lines as the same line of a
    basket, or as another line of the basket with the same product, quantity and amount. What cannot be found is a copy
    in the order lines with another date and another basket_id: that is a purchase like any other. Returns under their
    order's basket_id, and an order rung up on several days, are no copies.

    Args:
        models: fitted, by name; none: the order lines alone are looked at.
        order_lines: basket_id, line, customer_id, product_id, quantity, amount, ordered_on, merchandise.
        cut: first day the models must not know.
        days: length of the window they are judged on.
        withdrawn: customer_ids that must not be used: a purchase of theirs has no line to stand for it.

    Returns:
        cut, leak (of LEAKS), rows: how many. Purchases of several models are counted for each.
    """
    found = dict.fromkeys(LEAKS, 0)
    held = list({id(part): part for model in (models or {}).values() for part in _held(model, DEEPEST)}.values())
    if held:
        lines = (
            order_lines if withdrawn is None else order_lines.filter(~pl.col("customer_id").is_in(withdrawn.implode()))
        )
        bought = day_baskets(lines).select("customer_id", "product_id", "ordered_on")
        before = bought.filter(pl.col("ordered_on") < cut)
        wanted = bought.filter(pl.col("ordered_on").is_between(cut, cut + timedelta(days=days - 1)))
        for part in held:
            purchases = _purchases(part)
            found["on_or_after_the_cut"] += _late(part, cut)
            found["of_the_test_days"] += purchases.join(wanted, on=purchases.columns, how="semi").height
            found["without_a_line"] += purchases.join(before, on=purchases.columns, how="anti").height
    found["copied_lines"] = _copies(order_lines, cut, days)
    return pl.DataFrame(
        {"cut": [cut] * len(found), "leak": list(found), "rows": list(found.values())},
        schema=FOUND,
    )


def _copies(order_lines: pl.DataFrame, cut: date, days: int) -> int:
    """Lines beside those of the window, or from before it, that are one of its lines again.

    A line is another again that shares its basket and line number, or all of SOLD. A basket alone may span the cut: of
    one order part is sent later, part comes back. Only what a model can learn from counts, as in `day_baskets`.
    """
    if "basket_id" not in order_lines.columns:
        return 0
    numbered = "line" in order_lines.columns
    learnt = order_lines.filter(
        pl.col("merchandise") & (pl.col("quantity") > 0) & (pl.col("amount") > 0),
        pl.col("customer_id").is_not_null() & pl.col("product_id").is_not_null(),
    ).select("ordered_on", *SOLD, *(["line"] if numbered else []))
    window = learnt.filter(pl.col("ordered_on").is_between(cut, cut + timedelta(days=days - 1)))
    before = learnt.filter(pl.col("ordered_on") < cut).with_row_index("place")
    keys = [SOLD, *([("basket_id", "line")] if numbered else [])]
    same = [before.join(window, on=key, how="semi")["place"] for key in keys]
    again = window.height - window.select("basket_id", "line").unique().height if numbered else 0
    return again + pl.concat(same).n_unique()


def _held(value: object, depth: int) -> Iterator[Interactions]:
    """All interactions inside a value, in what it holds, and in what that holds."""
    if isinstance(value, Interactions):
        yield value
    elif depth:
        for part in _parts(value):
            yield from _held(part, depth - 1)


def _parts(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    if isinstance(value, list | tuple):
        return value
    ours = type(value).__module__.partition(".")[0] == __name__.partition(".")[0]
    return vars(value).values() if ours and hasattr(value, "__dict__") else ()


def _late(history: Interactions, cut: date) -> int:
    first = days_since_epoch(cut)
    weather = history.weather.filter(pl.col("day") >= cut).height
    return int((history.days >= first).sum() + (history.events.days >= first).sum()) + weather


def _purchases(history: Interactions) -> pl.DataFrame:
    days: NDArray[np.int32] = history.days
    return pl.DataFrame(
        {
            "customer_id": history.customers.gather(history.rows),
            "product_id": history.products.gather(history.columns),
            "ordered_on": pl.Series(days).cast(pl.Date),
        },
        schema={"customer_id": pl.String, "product_id": pl.String, "ordered_on": pl.Date},
    )
