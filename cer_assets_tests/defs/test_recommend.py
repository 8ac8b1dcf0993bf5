"""Whose lists are shown: a worse challenger is refused, a better one promoted, a rollback brings the same rows back."""

import datetime as dt
from functools import partial
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest

from cer_assets.defs.resources import Home
from cer_assets.defs.wiring import resources
from cer_assets.recommend import stored
from cer_assets.recommend.backtest import challenge
from cer_assets_tests.recommend import test_backtest
from cer_assets_tests.recommend.conftest import CUSTOMERS, START, catalogue, small_shop

DAY = dt.timedelta(days=1)
FIRST = dt.date(2017, 9, 7)
SECOND = FIRST + 21 * DAY
MODELS = ["recommend/als", *(f"recommend/{name}" for name in ("model", "evaluation", "leaks", "decisions"))]
CHALLENGE = {"min_customers": 2, "every_days": 0, "days": 21, "training_windows": 1}
CONFIG = {"recommend/als": {"min_customers": 2, "every_days": 0}, "recommend/recommendations": {"min_customers": 2}}
PEOPLE = pl.DataFrame({"customer_id": [f"c{number:02}" for number in range(CUSTOMERS)]})


class Ensemble(test_backtest.Ensemble):
    """As skilled as it is told to be, and with a taste of its own among what it knows nothing of."""

    def over(self, fitted: Any, products: pl.DataFrame, as_of: dt.date, learned: Any) -> Any:
        model = super().over(fitted, products, as_of, learned)
        taste = np.arange(model.lift_.shape[1], dtype=np.float32) * (0 if learned is None else learned.skill)
        model.lift_ += np.float32(1e-3) * taste
        return model


@pytest.fixture
def project(project: dg.Definitions, monkeypatch: pytest.MonkeyPatch, purchases: pl.DataFrame) -> dg.Definitions:
    """The project with few families, and an ensemble whose skill a test sets."""
    # Dagster lets beta parameters pass without a warning only while it loads the definitions.
    from cer_assets.defs.recommend import assets, learning

    for module in (learning, assets):
        monkeypatch.setattr(module, "HybridEnsemble", lambda *_: Ensemble(purchases, Skill.now))
    monkeypatch.setattr(learning, "challenge", partial(challenge, families=test_backtest.families))
    monkeypatch.setattr(stored, "all_families", test_backtest.families)
    return project


class Skill:
    """Of the next challenger."""

    now = 1.0


@pytest.fixture(scope="module")
def purchases() -> pl.DataFrame:
    """The small shop, in the year of the grid."""
    late = START - dt.date(2017, 6, 1)
    return small_shop().with_columns(pl.col("ordered_on") - late, pl.col("ordered_at") - late, line=pl.lit(1, pl.Int64))


def known(home: Home, purchases: pl.DataFrame, until: dt.date) -> None:
    """Everything that recommenders read, as of a day."""
    lines = purchases.filter(pl.col("ordered_on") <= until).with_columns(discount=pl.lit(0).cast(pl.Decimal(18, 2)))
    spent = lines.group_by("customer_id", "ordered_on").agg(pl.col("amount").sum())
    half = pl.when(pl.col("customer_id") < f"c{CUSTOMERS // 2:02}").then(pl.lit("high")).otherwise(pl.lit("low"))
    tables = {
        "customer.order_lines": lines,
        "customer.products": catalogue(),
        "customer.events": pl.DataFrame(
            schema=dict.fromkeys(("customer_id", "product_id", "kind"), pl.String) | {"occurred_at": pl.Datetime("us")}
        ),
        "customer.consents": pl.DataFrame(
            schema={"customer_id": pl.String, "purpose": pl.String, "granted": pl.Boolean}
            | {"said_at": pl.Datetime("us"), "known_on": pl.Date}
        ),
        "identity.links": PEOPLE.with_columns(record_id="crm:" + pl.col("customer_id")),
        "identity.customers": PEOPLE,
        "value.purchases": spent,
    }
    for name, frame in tables.items():
        home.lake.publish(name, frame)
    buckets = PEOPLE.with_columns(as_of=pl.lit(until), bucket=half)
    home.lake.publish("value.buckets", buckets, partition_by="as_of", keys=[until])


def run(project: dg.Definitions, instance: dg.DagsterInstance, home: Home, names: list[str], **tags: str) -> None:
    """Run some assets over the home."""
    job = dg.define_asset_job("some", dg.AssetSelection.assets(*(name.split("/") for name in names)))
    definitions = dg.Definitions(assets=project.assets, jobs=[job], resources=resources(home))
    asked: dict[str, Any] = {name.replace("/", "__"): {"config": CONFIG[name]} for name in names if name in CONFIG}
    asked |= {"challenge_model": {"config": CHALLENGE}} if "recommend/model" in names else {}
    definitions.resolve_job_def("some").execute_in_process(instance=instance, run_config={"ops": asked}, tags=tags)


def challenged(
    project: dg.Definitions, instance: dg.DagsterInstance, home: Home, skill: float, every_days: int = 0
) -> dict[str, Any]:
    """The decision after a challenger of some skill."""
    Skill.now = skill
    CHALLENGE["every_days"] = every_days
    run(
        project,
        instance,
        home,
        MODELS,
        **{"dagster/asset_partition_range_start": "all", "dagster/asset_partition_range_end": "low"},
    )
    decided = home.read("recommend.decisions")
    newest = decided.filter(pl.col("as_of") == pl.col("as_of").max())
    return newest.filter(pl.col("challenger") == "hybrid").row(0, named=True)


def listed(project: dg.Definitions, instance: dg.DagsterInstance, home: Home, day: dt.date) -> pl.DataFrame:
    """The lists of a day, made anew."""
    run(project, instance, home, ["recommend/recommendations"], **{"dagster/partition": str(day)})
    lists = home.read("recommend.recommendations").filter(pl.col("as_of") == day)
    return lists.sort("customer_id", "rank")


def test_only_a_better_challenger_makes_the_lists_and_a_rollback_brings_the_former_ones_back(
    project: dg.Definitions, instance: dg.DagsterInstance, empty_home: Home, purchases: pl.DataFrame
) -> None:
    from cer_assets.defs.recommend.learning import MODEL, rollback

    home = empty_home
    known(home, purchases, FIRST)
    assert challenged(project, instance, home, 0.01)["promoted"]
    champion = home.models.champion(MODEL)
    known(home, purchases, SECOND)
    of_the_first = listed(project, instance, home, SECOND)

    refused = challenged(project, instance, home, -1.0)
    assert not refused["promoted"]
    assert refused["champion"] == "hybrid"
    assert "not surely better than champion" in refused["why"]
    assert home.models.champion(MODEL) == champion
    assert listed(project, instance, home, SECOND).equals(of_the_first)

    assert challenged(project, instance, home, 1.0)["promoted"]
    better = home.models.champion(MODEL)
    assert better != champion
    assert not listed(project, instance, home, SECOND).equals(of_the_first)

    # Once more on the same purchases: nothing is judged again, and who was promoted stays.
    decided = home.read("recommend.decisions")
    challenged(project, instance, home, -1.0, every_days=28)
    assert home.models.champion(MODEL) == better
    assert home.read("recommend.decisions").equals(decided)

    # A run that was killed before its decision was written is done again, and ends as it would have.
    home.lake.publish("recommend.decisions", decided.clear(), partition_by="as_of", keys=[SECOND])
    challenged(project, instance, home, 1.0, every_days=28)
    assert home.models.champion(MODEL) == better
    assert home.read("recommend.decisions").sort("as_of", "challenger").equals(decided.sort("as_of", "challenger"))

    back = dg.Definitions(jobs=[rollback], resources=resources(home)).resolve_job_def("rollback")
    assert back.execute_in_process(instance=instance).success
    assert home.models.champion(MODEL) == champion
    assert listed(project, instance, home, SECOND).equals(of_the_first)


@pytest.mark.parametrize(("customers", "days"), [(CUSTOMERS, 10), (6, 60)])
def test_a_shop_with_too_little_to_judge_by_still_has_lists(
    project: dg.Definitions,
    instance: dg.DagsterInstance,
    empty_home: Home,
    purchases: pl.DataFrame,
    customers: int,
    days: int,
) -> None:
    few = purchases.filter(
        pl.col("customer_id") < f"c{customers:02}", pl.col("ordered_on") > FIRST - dt.timedelta(days=days)
    )
    known(empty_home, few, FIRST)
    Skill.now = 1.0
    stretch = {"dagster/asset_partition_range_start": "all", "dagster/asset_partition_range_end": "low"}
    run(project, instance, empty_home, MODELS, **stretch)
    decided = empty_home.read("recommend.decisions")
    assert decided.select("promoted").to_series().to_list() == [False] * decided.height
    assert listed(project, instance, empty_home, FIRST).height > 0


def test_of_more_customers_than_teach_everyone_has_a_list_and_who_did_not_move_keeps_it(
    project: dg.Definitions,
    instance: dg.DagsterInstance,
    empty_home: Home,
    purchases: pl.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from cer_assets.defs.recommend import inputs

    monkeypatch.setattr(inputs, "teachers", lambda counted: counted["customer_id"].sort()[: CUSTOMERS // 2])
    home = empty_home
    known(home, purchases, FIRST)
    challenged(project, instance, home, 1.0)
    lists = listed(project, instance, home, FIRST)
    assert set(lists["customer_id"]) == {*PEOPLE["customer_id"], "unknown"}
    known(home, purchases, FIRST + DAY)
    moved = purchases.filter(pl.col("ordered_on") == FIRST + DAY)["customer_id"].unique()
    after = listed(project, instance, home, FIRST + DAY)
    kept = after.join(lists, on=lists.columns[1:], how="semi")["customer_id"].unique()
    assert kept.len() > 0
    made = latest_metadata(instance, FIRST + DAY)
    assert made["carried"].value + made["made by the champion"].value + made["made by one family"].value == CUSTOMERS
    assert 0 < made["carried"].value <= CUSTOMERS - moved.len()
    assert listed(project, instance, home, FIRST + DAY).equals(after)

    # What is delivered late is known of its customer at once, and of nobody else.
    quiet = kept.filter(kept != "unknown").sort()[0]
    late = purchases.filter(pl.col("customer_id") == quiet).head(1).with_columns(basket_id=pl.lit("late"))
    known(home, pl.concat([purchases, late], how="diagonal"), FIRST + DAY)
    listed(project, instance, home, FIRST + DAY)
    assert latest_metadata(instance, FIRST + DAY)["carried"].value == made["carried"].value - 1


def latest_metadata(instance: dg.DagsterInstance, day: dt.date) -> Any:
    """What the newest lists of a day said of themselves."""
    from cer_assets.defs.provenance import latest

    entry = latest(instance, dg.AssetKey(["recommend", "recommendations"]), str(day))
    assert entry is not None
    assert entry.asset_materialization is not None
    return entry.asset_materialization.metadata
