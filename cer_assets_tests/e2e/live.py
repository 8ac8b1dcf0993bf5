"""A live Dagster over a home folder: code server, daemon and webserver, each a process, asked through GraphQL."""

import contextlib
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
LOCATIONS = """{ workspaceOrError { ... on Workspace { locationEntries {
  name loadStatus locationOrLoadError { __typename ... on PythonError { message } }
} } } }"""
RUNS = "{ runsOrError(limit: 50) { ... on Runs { results { runId jobName status } } } }"
ENDING = """
query ($run: ID!) {
  logsForRun(runId: $run) { ... on EventConnection { events {
    ... on RunFailureEvent { message } ... on ExecutionStepFailureEvent { stepKey error { message } }
  } } }
}"""
STANDING = """
{ assetNodes(loadMaterializations: true) {
  assetKey { path }
  assetMaterializations(limit: 1) { runId timestamp }
  freshnessStatusInfo { freshnessStatus }
  assetChecksOrError { ... on AssetChecks { checks {
    name blocking executionForLatestMaterialization { status evaluation { success severity description } }
  } } }
} }"""
TICKS = """
query ($name: String!) {
  sensorOrError(sensorSelector: {
    repositoryName: "__repository__", repositoryLocationName: "cer_assets", sensorName: $name
  }) { ... on Sensor { sensorState { ticks(limit: 5) { status skipReason } } } }
}"""


# Dagster looks into its queue every five seconds; a day's drop is seven runs, one after the other.
HASTE = """
run_coordinator:
  module: dagster
  class: QueuedRunCoordinator
  config:
    dequeue_interval_seconds: 1
    max_user_code_failure_retries: 5
    user_code_failure_retry_delay: 180
"""
WORKSPACE = """
load_from:
  - grpc_server: {host: 127.0.0.1, port: %d, location_name: cer_assets}
"""


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class NoAnswerError(ConnectionError):
    """The UI did not answer a question, as where the database was too busy."""


class Live:
    """The three processes of a deployment, on free ports of the loopback; each can be killed and started again.

    Runs are processes of the code server's: they outlive the daemon, and a killed code server leaves them behind.
    """

    def __init__(self, home: Path, variables: Mapping[str, str] | None = None, settings: str = HASTE) -> None:
        """Start all three and wait until the UI answers.

        Args:
            home: the home folder; an empty one will do.
            variables: what the environment of the processes has besides that of every home.
            settings: sections of dagster.yaml that take the place of the project's.
        """
        self.home, self.port, self.code_port = home, free_port(), free_port()
        self.environment = environment(home) | {"CER_UI_URL": self.url} | dict(variables or {})
        self.log = home / "dagster-dev.log"
        (home / "dagster").mkdir(parents=True, exist_ok=True)
        (home / "dagster" / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text() + settings)
        self.workspace = home / "dagster" / "workspace.yaml"
        self.workspace.write_text(WORKSPACE % self.code_port)
        self.servers: dict[str, psutil.Popen] = {}
        try:
            self.start_code_server()
            self.start_daemon()
            self.start_webserver()
            self.wait("the UI to answer", self.loaded, 240)
        except BaseException:
            self.stop()
            raise

    def start_code_server(self) -> None:
        """Start the process that holds the definitions, ticks the sensors and starts runs; wait until it answers."""
        self._start(
            "code", "dagster", "api", "grpc", "-m", "cer_assets.definitions", "-h", "127.0.0.1", "-p", self.code_port
        )
        self.wait("the code server", self._code_server_answers, 240)

    def start_daemon(self) -> None:
        """Start the process that asks for ticks and takes runs from the queue."""
        self._start("daemon", "dagster-daemon", "run", "-w", self.workspace)

    def start_webserver(self) -> None:
        """Start the UI."""
        self._start("web", "dagster-webserver", "-w", self.workspace, "-h", "127.0.0.1", "-p", self.port)

    def kill_daemon(self) -> None:
        """As when its machine dies."""
        self._kill("daemon")

    def restart_daemon(self) -> None:
        """Start the daemon anew, after killing it where it still runs."""
        self.kill_daemon()
        self.start_daemon()

    def kill_code_server(self) -> None:
        """As when its container dies, and the runs in it with it."""
        runs = self.run_processes()
        self._kill("code")
        for run in runs:
            run.kill()
        psutil.wait_procs(runs, 10)

    def restart_code_server(self) -> None:
        """Start the code server anew, after killing it and its runs where they still run."""
        self.kill_code_server()
        self.start_code_server()

    def run_processes(self) -> list[psutil.Process]:
        """The processes that execute runs now; what they started themselves is not among them."""
        if not (code := self.servers.get("code")) or not code.is_running():
            return []
        return [child for child in code.children() if "spawn_main" in " ".join(_command(child))]

    def _start(self, name: str, program: str, *arguments: object) -> None:
        with self.log.open("ab") as log:
            self.servers[name] = psutil.Popen(
                [str(Path(sys.executable).parent / program), *map(str, arguments)],
                cwd=PROJECT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A shell's background job ignores SIGINT, and what it starts inherits that.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

    def _kill(self, name: str) -> None:
        if server := self.servers.pop(name, None):
            server.kill()
            server.wait(20)

    def _code_server_answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.code_port), 1):
            return True

    @property
    def url(self) -> str:
        """Where the UI answers."""
        return f"http://127.0.0.1:{self.port}"

    def ask(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The data of a GraphQL answer."""
        body = json.dumps({"query": query, "variables": dict(variables or {})}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            found = json.load(answer)
        if "errors" in found:
            raise NoAnswerError(found["errors"])
        return found["data"]

    def wait(self, what: str, happened: Callable[[], Any], seconds: float = 360) -> Any:
        """What `happened` returns once it returns something."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for name, server in self.servers.items():
                assert server.poll() is None, f"{name} ended by itself; see {self.log}"
            if found := self._try(happened):
                return found
            time.sleep(1)
        raise AssertionError(f"waited {seconds:.0f} s for {what}; runs: {self._try(self.runs)}; see {self.log}")

    @staticmethod
    def _try(happened: Callable[[], Any]) -> Any:
        try:
            return happened()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return None

    def loaded(self) -> bool:
        """Whether the UI knows the definitions."""
        entries = self.ask(LOCATIONS)["workspaceOrError"]["locationEntries"]
        return bool(entries) and all(e["locationOrLoadError"]["__typename"] == "RepositoryLocation" for e in entries)

    def runs(self) -> list[dict[str, str]]:
        """Runs, newest first."""
        return self.ask(RUNS)["runsOrError"]["results"]

    def unsuccessful(self) -> list[dict[str, Any]]:
        """The runs that are under way or did not end well, newest first, each with what it says of that."""
        return [
            run | {"why": [event for event in self.ask(ENDING, {"run": run["runId"]})["logsForRun"]["events"] if event]}
            for run in self.runs()
            if run["status"] != "SUCCESS"
        ]

    def materialization(self, table: str, partition: str | None = None) -> dict[str, Any] | None:
        """The newest materialization of a table, or of one day of it."""
        partitions = None if partition is None else [partition]
        found = self.ask(MATERIALIZATION, {"path": table.split("/"), "partitions": partitions})
        events = found["assetOrError"].get("assetMaterializations") or []
        return events[0] if events else None

    def standing(self) -> dict[str, dict[str, Any]]:
        """Every asset that was ever materialized: its checks, and whether it is fresh."""
        nodes = self.ask(STANDING)["assetNodes"]
        return {"/".join(node["assetKey"]["path"]): node for node in nodes if node["assetMaterializations"]}

    def verdicts(self) -> dict[str, str]:
        """Every check of every asset that was ever materialized, and what came of it last."""
        return {
            f"{asset}:{check['name']}": _verdict(check["executionForLatestMaterialization"])
            for asset, node in self.standing().items()
            for check in node["assetChecksOrError"].get("checks", [])
        }

    def red(self) -> set[str]:
        """The checks that did not pass, or were not asked since the asset was last written."""
        return {check for check, verdict in self.verdicts().items() if verdict != "passed"}

    def skip_reasons(self, sensor: str) -> list[str]:
        """Why the newest ticks of a sensor started nothing."""
        ticks = self.ask(TICKS, {"name": sensor})["sensorOrError"]["sensorState"]["ticks"]
        return [tick["skipReason"] or "" for tick in ticks]

    def stale(self) -> set[str]:
        """The tables that are late, or of which the daemon has not said yet that they are in time."""
        info = {asset: node["freshnessStatusInfo"] for asset, node in self.standing().items()}
        return {asset for asset, one in info.items() if one and one["freshnessStatus"] != "HEALTHY"}

    def settled(self) -> bool:
        """Whether all stands on the newest day, and nothing is under way."""
        return self.idle() and any("everything stands on" in reason for reason in self.skip_reasons("catch_up")[:1])

    def idle(self) -> bool:
        """Whether no run is under way."""
        return all(run["status"] in ("SUCCESS", "FAILURE", "CANCELED") for run in self.runs())

    def stop(self) -> None:
        """End what was started, and what that started."""
        family = [child for server in self.servers.values() for child in _children(server)]
        for server in reversed(self.servers.values()):
            server.terminate()
        _, alive = psutil.wait_procs(self.servers.values(), 20)
        for process in [*alive, *family]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs([*alive, *family], 10)
        self.servers = {}


def _verdict(execution: dict[str, Any] | None) -> str:
    if execution is None:
        return "not asked"
    evaluation = execution["evaluation"]
    if execution["status"] not in ("SUCCEEDED", "FAILED") or evaluation is None:
        return execution["status"].lower()
    return "passed" if evaluation["success"] else "failed"


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []
