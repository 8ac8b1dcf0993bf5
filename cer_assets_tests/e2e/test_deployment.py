"""What `deploy/` says: every variable is explained, no secret has a default, nobody outside reaches the UI."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cer_assets_tests.conftest import PROJECT

DEPLOY = PROJECT / "deploy"
SECRETS = ("PGPASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "CER_SUPPRESSION_KEY")
PLACES = ("cer_assets/**/*.py", "deploy/*.yaml", "Makefile", ".ci/run")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def test_every_variable_of_the_project_is_in_the_environment_reference() -> None:
    named = {
        name
        for place in PLACES
        for file in PROJECT.glob(place)
        for name in re.findall(r"\b(?:CER|AWS)_[A-Z_]*[A-Z]\b|\bPG[A-Z]{4,}\b", file.read_text())
    }
    rows = [line for line in (DEPLOY / "README.md").read_text().splitlines() if line.startswith("| `")]
    explained = {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row.split("|")[1])}
    assert named - explained == set()


def test_no_secret_has_a_default(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if name in SECRETS or "PASSWORD" in name:
                variable = name.replace("POSTGRES_", "PG")
                assert value is None or re.fullmatch(rf"\$\{{{variable}:\?[^}}]*\}}", value), name


def test_only_the_ui_can_be_reached_and_by_default_from_this_host_alone(compose: dict[str, Any]) -> None:
    ports = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert ports == {"webserver": ["${CER_UI_ADDRESS:-127.0.0.1}:${CER_UI_PORT:-3000}:3000"]}
    assert compose["networks"]["inside"]["internal"]


def test_whatever_stays_up_is_watched_and_started_again(compose: dict[str, Any]) -> None:
    staying = {name: service for name, service in compose["services"].items() if name != "migrate"}
    assert all("healthcheck" in service and service["restart"] == "unless-stopped" for service in staying.values())


def test_the_sections_of_the_instance_file_take_the_place_of_the_projects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cer_assets.defs.resources import Home
    from cer_assets.defs.run import prepare

    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("CER_HOME", "")
    own, more = tmp_path / "own.yaml", (DEPLOY / "postgres.yaml").read_text()
    own.write_text(f"{more}\ntelemetry:\n  enabled: true\n")
    monkeypatch.setenv("CER_INSTANCE_FILE", str(own))
    prepare(Home(root=str(tmp_path / "home")))
    found = yaml.safe_load((tmp_path / "home" / "dagster" / "dagster.yaml").read_text())
    project = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    assert found == project | yaml.safe_load(more) | {"telemetry": {"enabled": True}}


@pytest.mark.parametrize("file", sorted(DEPLOY.glob("*.yaml")), ids=lambda file: file.name)
def test_no_key_is_said_twice_for_compose_refuses_such_a_file(file: Path) -> None:
    def twice(node: yaml.Node | None) -> list[str]:
        if isinstance(node, yaml.SequenceNode):
            return [name for one in node.value for name in twice(one)]
        if not isinstance(node, yaml.MappingNode):
            return []
        names = [key.value for key, _ in node.value]
        return [name for name in names if names.count(name) > 1] + [n for _, one in node.value for n in twice(one)]

    assert twice(yaml.compose(file.read_text())) == []
