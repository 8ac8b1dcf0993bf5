"""What people answer reaches the links: at once where it binds, through a guarded new model where it teaches."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from cer_assets.defs.automation import RETRAIN_AFTER, retrain_sensor
from cer_assets.defs.identity import learning
from cer_assets.defs.plan import due_loads
from cer_assets.defs.resources import Home
from cer_assets.defs.wiring import resources
from cer_assets_tests.conftest import copied, environment

IDENTITY = ["identity/labels", "identity/constraints", "identity/history", "identity/edges", "identity/links"]


@pytest.fixture
def home(finished_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A copy of the finished home with its instance, which sensors look into."""
    folder = copied(finished_home, tmp_path / "home")
    for name, value in environment(folder).items():
        monkeypatch.setenv(name, value)
    return Home(root=str(folder))


def materialize(project: dg.Definitions, home: Home, assets: list[str]) -> dg.ExecuteInProcessResult:
    """Run some assets and their checks over the home."""
    keys = [dg.AssetKey(name.split("/")) for name in assets]
    selection = dg.AssetSelection.assets(*keys)
    job = dg.define_asset_job("some", selection | dg.AssetSelection.checks_for_assets(*keys))
    definitions = dg.Definitions(
        assets=project.assets, asset_checks=project.asset_checks, jobs=[job], resources=resources(home.root)
    )
    with dg.DagsterInstance.get() as instance:
        return definitions.resolve_job_def("some").execute_in_process(instance=instance, raise_on_error=False)


def answers(home: Home, said: list[dict[str, Any]]) -> None:
    """A drop of answers."""
    path = home.landing / "pair_labels" / "2018-01-02.steward.ndjson"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"by": "steward", "at": f"2018-01-02T10:{n // 60:02}:{n % 60:02}"} | row for n, row in enumerate(said)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def tick(home: Home) -> object:
    """One tick of the retrain sensor."""
    with (
        dg.DagsterInstance.get() as instance,
        dg.build_sensor_context(instance=instance, resources={"home": home}) as context,
    ):
        return retrain_sensor(context)


def test_what_people_bind_holds_in_the_next_links_and_nothing_else_moves(project: dg.Definitions, home: Home) -> None:
    before, version = home.read("identity.links"), home.lake.version("identity.links")
    one, other = before.filter(pl.len().over("customer_id") == 1).sort("record_id")["record_id"].head(2)
    apart = before.filter(pl.len().over("customer_id") == 2).sort("customer_id", "record_id")["record_id"].head(2)
    answers(
        home,
        [
            {"record_a": one, "record_b": other, "answer": "must_link"},
            {"record_a": apart[0], "record_b": apart[1], "answer": "cannot_link"},
        ],
    )
    assert [step.assets[0].path[1] for step in due_loads(home)] == ["pair_labels"]
    assert materialize(project, home, ["raw/pair_labels"]).success
    assert materialize(project, home, IDENTITY).success

    after = home.read("identity.links")
    customer = dict(after.select("record_id", "customer_id").iter_rows())
    assert customer[one] == customer[other]
    assert customer[apart[0]] != customer[apart[1]]
    touched = before.filter(pl.col("record_id").is_in([one, other, *apart]))["customer_id"].unique()
    rest = ~pl.col("customer_id").is_in(touched.implode())
    assert after.filter(rest & pl.col("customer_id").is_in(before["customer_id"].implode())).equals(before.filter(rest))
    events = home.read("identity.history").filter(pl.col("links_version") == version)["event"].to_list()
    assert sorted(events) == ["merge", "split"]


def test_a_model_is_trained_anew_after_enough_answers_and_goes_live_only_past_the_guards(
    project: dg.Definitions, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(tick(home), dg.SkipReason)
    questions = home.read("identity.questions").filter(pl.col("drawn") != "repeat").head(RETRAIN_AFTER)
    same = [
        {"record_a": a, "record_b": b, "answer": "match"} for a, b in questions.select("record_a", "record_b").rows()
    ]
    answers(home, same)
    assert materialize(project, home, ["raw/pair_labels"]).success
    assert materialize(project, home, ["identity/labels"]).success
    assert isinstance(request := tick(home), dg.RunRequest)
    assert request.job_name == "training"

    live = home.models.champion("identity_model")
    refuses = learning.guard

    def refusing(*arguments: Any, **named: Any) -> Any:
        found = refuses(*arguments, **named)
        return type(found)(found.figures.with_columns(passed=pl.lit(value=False)), found.offenders)

    with monkeypatch.context() as patch:
        patch.setattr(learning, "guard", refusing)
        assert materialize(project, home, ["identity/model"]).success
    assert home.models.champion("identity_model") == live
    assert materialize(project, home, ["identity/model"]).success
    assert home.models.champion("identity_model") != live
    assert isinstance(tick(home), dg.SkipReason)
