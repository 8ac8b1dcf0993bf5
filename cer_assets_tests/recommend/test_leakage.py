"""Whatever is planted of the test days, wherever: the guard finds it, and finds nothing where nothing is."""

import datetime as dt
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cer_assets.recommend import Als, AlsByBucket, Interactions, PersonalFrequency, Popularity, interactions
from cer_assets.recommend.interactions import Events, days_since_epoch
from cer_assets.recommend.leakage import FOUND, LEAKS, leaks
from cer_assets.recommend.model import Recommender
from cer_assets_tests.recommend.conftest import CUT, SMALL, catalogue

DAY = dt.timedelta(days=1)


@pytest.fixture(scope="module")
def lines(shop: pl.DataFrame) -> pl.DataFrame:
    return shop.with_columns(line=pl.lit(1, pl.Int64))


@pytest.fixture(scope="module")
def history(lines: pl.DataFrame, buckets: pl.DataFrame) -> Interactions:
    return interactions(lines, CUT, 2, traits=buckets)


def _found(models: dict[str, Recommender] | None, lines: pl.DataFrame, **further: pl.Series) -> dict[str, int]:
    return {
        leak: rows for leak, rows in leaks(models, lines, CUT, 28, **further).select("leak", "rows").iter_rows() if rows
    }


def _fit(history: Interactions) -> dict[str, Recommender]:
    return {"popularity": Popularity().fit(history, catalogue(), CUT)}


def _with(history: Interactions, customer: str, product: str, day: dt.date) -> Interactions:
    """One more purchase in the training data, whatever the order lines say."""
    entry = {
        "rows": history.row_of(pl.Series([customer])),
        "columns": history.column_of(pl.Series([product])),
        "days": np.array([days_since_epoch(day)], np.int32),
        "hours": np.array([-1], np.int8),
        **{name: np.ones(1, np.float32) for name in ("amounts", "discounts", "quantities")},
    }
    joined = {name: np.append(getattr(history, name), value) for name, value in entry.items()}
    order = np.lexsort((joined["days"], joined["columns"], joined["rows"]))
    return replace(history, **{name: value[order] for name, value in joined.items()})


def _test_row(lines: pl.DataFrame) -> pl.DataFrame:
    return lines.filter(pl.col("ordered_on") >= CUT).head(1)


def test_nothing_is_found_in_what_was_cut_off_rightly(lines: pl.DataFrame, history: Interactions) -> None:
    models = {
        "als": Als(SMALL).fit(history, catalogue(), CUT),
        "als_bucket": AlsByBucket(SMALL).fit(history, catalogue(), CUT),
        "personal_frequency": PersonalFrequency().fit(history, catalogue(), CUT),
    }
    found = leaks(models, lines, CUT, 28)
    assert dict(found.schema) == FOUND
    assert found["leak"].to_list() == list(LEAKS)
    assert found["rows"].to_list() == [0, 0, 0, 0]


def test_a_test_row_in_the_training_data_is_found(lines: pl.DataFrame, history: Interactions) -> None:
    row = _test_row(lines).row(0, named=True)
    planted = _with(history, row["customer_id"], row["product_id"], row["ordered_on"])
    found = _found(_fit(planted), lines)
    assert found == {"on_or_after_the_cut": 1, "of_the_test_days": 1, "without_a_line": 1}


def test_a_test_row_in_the_training_data_under_a_forged_day_is_found(
    lines: pl.DataFrame, history: Interactions
) -> None:
    row = _test_row(lines).row(0, named=True)
    own = lines.filter(customer_id=row["customer_id"], product_id=row["product_id"])["ordered_on"].to_list()
    forged = next(day for day in (CUT - back * DAY for back in range(1, 90)) if day not in own)
    planted = _with(history, row["customer_id"], row["product_id"], forged)
    assert _found(_fit(planted), lines) == {"without_a_line": 1}


def test_a_test_row_inside_a_model_inside_a_model_is_found(lines: pl.DataFrame, history: Interactions) -> None:
    model = AlsByBucket(SMALL).fit(history, catalogue(), CUT)
    row = _test_row(lines).row(0, named=True)
    planted = _with(history, row["customer_id"], row["product_id"], row["ordered_on"])
    model.models_["low"].interactions_ = planted
    assert _found({"als_bucket": model}, lines)["of_the_test_days"] == 1


@pytest.mark.parametrize("forged", ["line", "product_id", "neither"])
def test_a_copy_of_a_test_row_in_the_order_lines_under_a_forged_day_is_found(lines: pl.DataFrame, forged: str) -> None:
    copy = _test_row(lines).with_columns(
        ordered_on=pl.lit(CUT - 9 * DAY), ordered_at=pl.lit(dt.datetime.combine(CUT - 9 * DAY, dt.time(12)))
    )
    changed = {"line": pl.lit(77, pl.Int64), "product_id": pl.lit("p00"), "neither": pl.col("line")}
    copy = copy.with_columns(changed[forged].alias("line" if forged == "neither" else forged))
    planted = pl.concat([lines, copy])
    assert _found(None, planted) == {"copied_lines": 1}
    # The training data is then what its order lines say: only the lines tell.
    assert _found(_fit(interactions(planted, CUT, 2)), planted) == {"copied_lines": 1}


def test_a_copy_of_a_test_row_under_its_own_day_is_found(lines: pl.DataFrame) -> None:
    assert _found(None, pl.concat([lines, _test_row(lines)])) == {"copied_lines": 1}


@pytest.mark.parametrize(
    "changed",
    [
        {"quantity": -pl.col("quantity"), "amount": -pl.col("amount")},
        {"quantity": 2 * pl.col("quantity"), "amount": 2 * pl.col("amount")},
        {"merchandise": pl.lit(value=False)},
    ],
    ids=["a return", "another part of the order", "a fee"],
)
def test_an_order_that_goes_on_after_the_cut_is_no_leak(lines: pl.DataFrame, changed: dict[str, pl.Expr]) -> None:
    first = lines.filter(pl.col("ordered_on") == CUT - DAY).head(1)
    later = first.with_columns(**changed, line=pl.lit(2, pl.Int64), ordered_on=pl.lit(CUT + 3 * DAY))
    assert _found(None, pl.concat([lines, later.select(lines.columns).cast(lines.schema)])) == {}


def test_a_copy_of_a_row_from_before_the_test_days_is_no_leak(lines: pl.DataFrame) -> None:
    earlier = lines.filter(pl.col("ordered_on") < CUT).head(1)
    assert _found(None, pl.concat([lines, earlier])) == {}


def test_events_and_weather_of_the_test_days_are_found(lines: pl.DataFrame, history: Interactions) -> None:
    one = np.zeros(1, np.int32)
    late = Events(one, one, np.array([days_since_epoch(CUT)], np.int32), np.zeros(1, np.int8))
    weather = pl.DataFrame({"day": [CUT], "temperature": [1.0], "rain": [0.0]})
    assert _found(_fit(replace(history, events=late)), lines) == {"on_or_after_the_cut": 1}
    assert _found(_fit(replace(history, weather=weather)), lines) == {"on_or_after_the_cut": 1}


def test_a_purchase_of_who_withdrew_has_no_line_to_stand_for_it(lines: pl.DataFrame, history: Interactions) -> None:
    own = int((history.rows == history.row_of(pl.Series(["c00"]))[0]).sum())
    assert _found(_fit(history), lines, withdrawn=pl.Series(["c00"])) == {"without_a_line": own}


def test_lines_without_a_basket_can_have_no_copies(lines: pl.DataFrame) -> None:
    assert _found(None, pl.concat([lines, _test_row(lines)]).drop("basket_id", "line")) == {}
