"""What people answer reaches the links: at once where it binds, through a guarded new model where it teaches."""

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from cer_assets.defs.automation import RETRAIN_AFTER, retrain_sensor
from cer_assets.defs.identity import assets, learning
from cer_assets.defs.identity.checks import guards
from cer_assets.defs.plan import due_loads
from cer_assets.defs.resources import Home
from cer_assets.defs.wiring import resources
from cer_assets.erasure.suppression import CUSTOMER, RECORD, Keyed, key_mark
from cer_assets.identity import train
from cer_assets.lake import Lake, Published, content_hash
from cer_assets_tests.conftest import copied, environment
from cer_assets_tests.identity.people import population

PAIR_OF_PEOPLE = ("record_a", "record_b", "answer")
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
        assets=project.assets, asset_checks=project.asset_checks, jobs=[job], resources=resources(home)
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


RESOLVED = ["identity.history", "identity.edges", "identity.links"]


@pytest.fixture(scope="module")
def small_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the records of a few people and a model, in which nothing is resolved yet."""
    home = Home(root=str(tmp_path_factory.mktemp("small") / "home"))
    first_delivery(home)
    home.lake.publish("identity.constraints", pl.DataFrame(schema=dict.fromkeys(PAIR_OF_PEOPLE, pl.String)))
    model = train(home.read("identity.records"))
    home.models.promote("identity_model", home.models.save("identity_model", model.files(), model.card()))
    return Path(home.root)


def first_delivery(home: Home) -> None:
    """The people of the home, as `identity.records` holds them."""
    publish_people(home, population(40)[0].with_columns(changed_on=dt.date(2018, 1, 1)))


def second_delivery(home: Home) -> None:
    """Some records are withdrawn, some change, and some are of people not seen before."""
    people, row = population(48)[0].sort("record_id"), pl.int_range(pl.len())
    moved, new = row % 7 == 0, pl.col("record_id").str.tail(4) >= "0040"
    street = pl.when(moved).then(pl.lit("1 elsewhere rd")).otherwise("street")
    day = pl.when(moved | new).then(dt.date(2018, 1, 2)).otherwise(dt.date(2018, 1, 1))
    publish_people(home, people.with_columns(street=street, changed_on=day).filter(row % 9 != 0))


def publish_people(home: Home, people: pl.DataFrame) -> None:
    home.lake.publish("identity.records", people, partition_by="changed_on")


def resolve(home: Home, instance: dg.DagsterInstance) -> bool:
    """Who is who, in a home without anything else and without pictures; whether that succeeded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assets, "picture", lambda _chart: "not drawn")
        return dg.materialize(
            [assets.resolution], instance=instance, resources=resources(home), raise_on_error=False
        ).success


def contents(home: Home) -> dict[str, str]:
    return {table: content_hash(home.read(table)) for table in RESOLVED}


@pytest.fixture(scope="module")
def undisturbed(small_home: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """The tables of a home in which the first and then the second delivery was resolved without a hitch."""
    home = Home(root=str(copied(small_home, tmp_path_factory.mktemp("undisturbed") / "home")))
    with dg.DagsterInstance.ephemeral() as instance:
        found: list[dict[str, str]] = []
        for deliver in (first_delivery, second_delivery):
            deliver(home)
            assert resolve(home, instance)
            found.append(contents(home))
    assert all(found[0][table] != found[1][table] for table in RESOLVED)
    return found


@pytest.fixture
def killed(small_home: Path, tmp_path: Path, instance: dg.DagsterInstance) -> Callable[[str, bool], Home]:
    """A home whose run over the second delivery died at a table: before it was written, or before it was told."""

    def at(table: str, written: bool) -> Home:
        home, publish = Home(root=str(copied(small_home, tmp_path / "home"))), Lake.publish

        def publish_or_die(lake: Lake, name: str, *arguments: Any, **named: Any) -> Published:
            done = publish(lake, name, *arguments, **named) if written or name != table else None
            if done is None or name == table:
                raise RuntimeError("killed")
            return done

        assert resolve(home, instance)
        second_delivery(home)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Lake, "publish", publish_or_die)
            assert not resolve(home, instance)
        return home

    return at


LEFT = pytest.mark.parametrize(
    ("table", "written"), [("identity.edges", True), ("identity.links", False), ("identity.links", True)]
)
"""What a killed run leaves behind: edges without their links, or links that nothing was recorded of."""


@LEFT
def test_a_run_killed_before_its_links_are_recorded_and_started_again_gives_the_tables_of_an_undisturbed_one(
    undisturbed: list[dict[str, str]],
    killed: Callable[[str, bool], Home],
    instance: dg.DagsterInstance,
    table: str,
    written: bool,
) -> None:
    home = killed(table, written)
    assert resolve(home, instance)
    assert contents(home) == undisturbed[1]


@LEFT
def test_of_a_run_killed_before_its_links_are_recorded_nothing_is_left_once_its_records_are_taken_back(
    undisturbed: list[dict[str, str]],
    killed: Callable[[str, bool], Home],
    instance: dg.DagsterInstance,
    table: str,
    written: bool,
) -> None:
    home = killed(table, written)
    first_delivery(home)
    assert resolve(home, instance)
    assert contents(home) == undisturbed[0]


def test_whom_an_erasure_took_out_of_the_links_the_next_run_names_in_no_ledger(
    small_home: Path, tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(root=str(copied(small_home, tmp_path / "home")))
    assert resolve(home, instance)
    links, key = home.read("identity.links"), Keyed.with_key("k" * 40)
    customer = links["customer_id"].sort()[0]
    theirs = links.filter(pl.col("customer_id") == customer)["record_id"]
    asked, sources = pl.Series(["request"] * len(theirs)), theirs.str.split(":").list.first()
    listed = [key_mark(key), key.listed(RECORD, asked, theirs, sources)]
    listed.append(key.listed(CUSTOMER, pl.Series(["request"]), pl.Series([customer])))
    monkeypatch.setenv("CER_SUPPRESSION_KEY", "k" * 40)
    home.lake.publish("erasure.suppressed", pl.concat(listed))
    ledger = home.read("identity.history").filter(pl.col("customer_id") != customer)
    home.lake.publish("identity.history", ledger)
    home.lake.publish("identity.links", links.filter(pl.col("customer_id") != customer))
    publish_people(home, home.read("identity.records").filter(~pl.col("record_id").is_in(theirs.implode())))
    assert resolve(home, instance)
    named = pl.any_horizontal(pl.col("customer_id", "from", "to").eq_missing(customer))
    assert home.read("identity.history").filter(named).is_empty()


def test_links_that_somebody_reported_by_hand_are_resolved_again(
    undisturbed: list[dict[str, str]], small_home: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    home = Home(root=str(copied(small_home, tmp_path / "home")))
    assert resolve(home, instance)
    instance.report_runless_asset_event(dg.AssetMaterialization(["identity", "links"]))
    assert resolve(home, instance)
    assert contents(home) == undisturbed[0]


def glued_records_pass(home: Home, **allowed: float) -> bool:
    """Whether the links of the home pass the guard of the largest customer."""
    key = dg.AssetCheckKey(dg.AssetKey(["identity", "links"]), "size_cap")
    job = dg.define_asset_job("guard", dg.AssetSelection.checks(key), config={"ops": {"guards": {"config": allowed}}})
    definitions = dg.Definitions(asset_checks=[guards], jobs=[job], resources=resources(home))
    run = definitions.resolve_job_def("guard").execute_in_process(raise_on_error=False)
    (found,) = run.get_asset_check_evaluations()
    assert found.passed == run.success
    return run.success


def test_a_guard_let_through_once_by_a_wider_bound_fails_again_the_next_time(small_home: Path, tmp_path: Path) -> None:
    home = Home(root=str(copied(small_home, tmp_path / "home")))
    everyone = home.read("identity.records").select("record_id")
    home.lake.publish("identity.links", everyone.with_columns(customer_id=pl.lit("one and the same")))
    edge = {"record_a": pl.String, "record_b": pl.String, "score": pl.Float64}
    home.lake.publish("identity.edges", pl.DataFrame(schema=edge))
    assert [
        glued_records_pass(home),
        glued_records_pass(home, records_of_a_customer=len(everyone)),
        glued_records_pass(home),
    ] == [False, True, False]
