"""A live Dagster (webserver, daemon, code server) over a home folder, asked through its GraphQL."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from cer_assets_tests.conftest import PROJECT, environment

MATERIALIZATION = """
query ($path: [String!]!, $partitions: [String!]) {
  assetOrError(assetKey: {path: $path}) {
    ... on Asset { assetMaterializations(limit: 1, partitions: $partitions) {
      runId timestamp metadataEntries { label ... on IntMetadataEntry { intValue } }
    } }
  }
}"""
RUNS = "{ runsOrError(limit: 50) { ... on Runs { results { runId jobName status } } } }"
CHECKS = """
query ($path: [String!]!) {
  assetNodeOrError(assetKey: {path: $path}) { ... on AssetNode { assetChecksOrError { ... on AssetChecks { checks {
    name blocking executionForLatestMaterialization { status evaluation { success description } }
  } } } } }
}"""
TICKS = """
query ($name: String!) {
  sensorOrError(sensorSelector: {
    repositoryName: "__repository__", repositoryLocationName: "cer_assets", sensorName: $name
  }) { ... on Sensor { sensorState { ticks(limit: 5) { status skipReason } } } }
}"""


class Live:
    """One `dagster dev` on a free port of the loopback."""

    def __init__(self, home: Path) -> None:
        self.home = home
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = (home / "dagster-dev.log").open("wb")
        self.process = subprocess.Popen(
            [
                Path(sys.executable).parent / "dagster",
                "dev",
                "-w",
                "workspace.yaml",
                "-h",
                "127.0.0.1",
                "-p",
                str(self.port),
            ],
            cwd=PROJECT,
            env=environment(home),
            stdout=self.log,
            stderr=subprocess.STDOUT,
            # A shell's background job ignores SIGINT, and what it starts inherits that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    @property
    def url(self) -> str:
        """Where the UI answers."""
        return f"http://127.0.0.1:{self.port}"

    def ask(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The data of a GraphQL answer."""
        body = json.dumps({"query": query, "variables": dict(variables or {})}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            found = json.load(answer)
        assert "errors" not in found, found["errors"]
        return found["data"]

    def wait(self, what: str, happened: Callable[[], Any], seconds: float = 360) -> Any:
        """What `happened` returns once it returns something."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.process.poll() is None, "dagster dev ended by itself"
            if found := self._try(happened):
                return found
            time.sleep(1)
        raise AssertionError(f"waited {seconds:.0f} s for {what}; runs: {self.runs()}")

    @staticmethod
    def _try(happened: Callable[[], Any]) -> Any:
        try:
            return happened()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return None

    def runs(self) -> list[dict[str, str]]:
        """Runs, newest first."""
        return self.ask(RUNS)["runsOrError"]["results"]

    def materialization(self, table: str, partition: str | None = None) -> dict[str, Any] | None:
        """The newest materialization of a table, or of one day of it."""
        partitions = None if partition is None else [partition]
        found = self.ask(MATERIALIZATION, {"path": table.split("/"), "partitions": partitions})
        events = found["assetOrError"].get("assetMaterializations") or []
        return events[0] if events else None

    def checks(self, table: str) -> dict[str, dict[str, Any] | None]:
        """The newest evaluation of each check of a table."""
        found = self.ask(CHECKS, {"path": table.split("/")})["assetNodeOrError"]["assetChecksOrError"]["checks"]
        return {check["name"]: check["executionForLatestMaterialization"] for check in found}

    def skip_reasons(self, sensor: str) -> list[str]:
        """Why the newest ticks of a sensor started nothing."""
        ticks = self.ask(TICKS, {"name": sensor})["sensorOrError"]["sensorState"]["ticks"]
        return [tick["skipReason"] or "" for tick in ticks]

    def idle(self) -> bool:
        """Whether no run is under way."""
        return all(run["status"] in ("SUCCESS", "FAILURE", "CANCELED") for run in self.runs())

    def stop(self) -> None:
        """End the process that was started, and what it started."""
        family = [self.process, *psutil.Process(self.process.pid).children(recursive=True)]
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        for process in family[1:]:
            if process.is_running():
                process.kill()
        self.process.wait(10)
        self.log.close()
