"""What errors say where Dagster keeps them: never a value that a library quoted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import polars as pl
import pytest

NAME, MAIL, PHONE = "Zephyrine Quackenbosch", "zephyrine.q@nowhere.example", "+1 555 867 5309"


@pytest.fixture(autouse=True)
def installed(project: dg.Definitions, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project's definitions are loaded, and with them what keeps errors discreet."""
    assert project
    monkeypatch.delenv("CER_ERRORS", raising=False)


def by_polars() -> None:
    pl.DataFrame({"phone": [NAME, MAIL, PHONE]}).select(pl.col("phone").cast(pl.Int64))


def by_duckdb() -> None:
    duckdb.connect().execute("select cast(? as date)", [f"{NAME} {MAIL} {PHONE}"])


def by_python() -> None:
    int(f"{NAME} {MAIL} {PHONE}")


def by_what_it_came_from() -> None:
    raise RuntimeError("while something else was looked for") from KeyError(f"{NAME} {MAIL} {PHONE}")


FAULTS = [by_polars, by_duckdb, by_python, by_what_it_came_from]


def kept(instance: dg.DagsterInstance) -> str:
    """Everything that the instance remembers of its runs."""
    return "\n".join(
        dg.serialize_value(entry) for run in instance.get_runs() for entry in instance.all_logs(run.run_id)
    )


def names_nobody(text: str) -> bool:
    return not any(part in text for value in (NAME, MAIL, PHONE) for part in [value, *value.split()[-1:]])


class Faulty(dg.IOManager):
    """Falls over what it is handed."""

    def __init__(self, fault: Callable[[], None]) -> None:
        self.fault = fault

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        self.fault()

    def load_input(self, context: dg.InputContext) -> object:
        self.fault()
        return None


@pytest.mark.parametrize("fault", FAULTS)
def test_no_value_is_kept_of_an_error_in_an_asset_an_output_an_input_or_a_check(
    instance: dg.DagsterInstance, fault: Callable[[], None], capfd: pytest.CaptureFixture[str]
) -> None:
    @dg.asset
    def falls() -> None:
        fault()

    @dg.asset(io_manager_key="faulty")
    def written() -> int:
        return 1

    @dg.asset(ins={"source": dg.AssetIn(key="there", input_manager_key="faulty")})
    def loaded(source: int) -> None: ...

    @dg.asset
    def checked() -> None: ...

    @dg.asset_check(asset=checked)
    def check() -> dg.AssetCheckResult:
        fault()
        return dg.AssetCheckResult(passed=True)

    done = dg.materialize(
        [falls, written, loaded, dg.AssetSpec("there"), checked, check],
        instance=instance,
        resources={"faulty": Faulty(fault)},
        raise_on_error=False,
    )
    assert len([event for event in done.all_events if event.is_step_failure]) == 4
    assert names_nobody(kept(instance))
    assert names_nobody("".join(capfd.readouterr()))


@pytest.mark.parametrize("fault", FAULTS)
def test_no_value_is_kept_of_an_error_in_a_sensor(fault: Callable[[], None]) -> None:
    @dg.job
    def nothing() -> None: ...

    @dg.sensor(job=nothing)
    def looking(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        fault()
        return dg.SkipReason("never")

    @dg.repository
    def everything() -> list[Any]:
        return [looking]

    # What the code server does for the daemon.
    from dagster._core.remote_origin import InProcessCodeLocationOrigin
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
    from dagster._grpc.impl import get_external_sensor_execution

    origin = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="cer_assets.definitions"))
    tick = get_external_sensor_execution(everything, origin, None, "looking", None, None, None, None, None)
    said = dg.serialize_value(tick)
    assert "looking" in said
    assert names_nobody(said)


def message(instance: dg.DagsterInstance, fault: Callable[[], Any]) -> str:
    """What is kept of an asset's error."""

    @dg.asset
    def falls() -> None:
        fault()

    done = dg.materialize([falls], instance=instance, raise_on_error=False)
    (failure,) = [event for event in done.all_events if event.is_step_failure]
    error = failure.step_failure_data.error
    assert error is not None
    return (error.cause or error).message


def test_an_error_is_told_by_its_class_and_the_line_of_ours_that_it_came_through(instance: dg.DagsterInstance) -> None:
    from cer_assets.identity.standardise import standardise

    said = message(instance, lambda: standardise(pl.DataFrame({NAME: [MAIL]}), "US"))
    assert "polars" in said
    assert "ColumnNotFoundError at cer_assets/identity/standardise.py, line " in said
    assert names_nobody(said)


def test_what_this_package_says_itself_stays_as_it_is(instance: dg.DagsterInstance) -> None:
    from cer_assets.lake import Lake

    said = message(instance, lambda: Lake("/nowhere").open("value.rfm"))
    assert "value.rfm has not been built yet: nothing lies at /nowhere/value/rfm" in said


def test_what_our_code_merely_passes_through_is_not_ours(instance: dg.DagsterInstance) -> None:
    from cer_assets.lake.tables import stretches

    said = message(instance, lambda: list(stretches([NAME, NAME])))  # pyright: ignore[reportArgumentType]
    assert "TypeError at cer_assets/lake/tables.py, line " in said
    assert "unsupported operand" not in said


def test_a_full_disk_is_called_one_and_the_folders_are_named(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cer_assets.lake.files import write_atomically

    monkeypatch.setenv("CER_HOME", str(tmp_path))

    def full() -> None:
        with Path("/dev/full").open("wb", buffering=0) as file:
            file.write(b"x")

    said = message(instance, full)
    assert "No space left on device" in said
    assert f"{tmp_path} or " in said
    assert "is full: make room there, and start again. What was there before is intact." in said

    (tmp_path / "file").touch()
    said = message(instance, lambda: write_atomically(tmp_path / "file" / "page.html", b""))
    assert f"File exists: {tmp_path}/file" in said or "Not a directory" in said


def test_every_word_is_let_through_where_that_was_asked_for(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CER_ERRORS", "whole")
    assert NAME in message(instance, by_python)
