"""Which process executes a run, and whether it is still there."""

import datetime as dt
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psutil
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value

PROCESS = "cer/process"
"""Run tag: the process that executes the run, so that a killed run can be told from a running one."""
UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_HAS_PROCESS = [status for status in UNDER_WAY if status != dg.DagsterRunStatus.QUEUED]
"""A run is entered as not started before it is queued or executed: whoever entered it may be gone by then too."""
START_SECONDS = 300
"""A launched run whose process has not said who it is by then never came up: loading the project takes it seconds, and
minutes where a machine has far more to do than it can."""
LAUNCH_SECONDS = 60
"""A run that left the queue so long ago, and that no code server executes, will not be executed: whoever took it from
the queue asks one at once to do so, or is gone."""
MOST_LAUNCHES = 5
"""So often a run is queued: whose launch brings the daemon down must not do so for ever."""
_ANSWER_SECONDS = 10
"""Within so long a code server says what it executes, or is taken for one that does not answer."""
_FORMER = 4
"""Parts of the tag while it did not name the start of the machine: a run may be under way during an upgrade."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")
GONE = "the process that executed this run is gone; what it left undone is due again"
NEVER_UP = f"the process that was to execute this run did not come up within {START_SECONDS} s"
NEVER_LAUNCHED = "whoever took this run from the queue is gone, and no process executes it"


@dataclass(frozen=True)
class Process:
    """A process of one host.

    Its number may be given to another later; its number and its time of birth, since one start of the machine, may not.
    """

    host: str
    boot: str
    """Which start of the machine it has lived since; empty where that is not known."""
    pid: int
    born: float
    """Seconds after that start."""
    run: str
    """The run it executes: a run that is executed anew inherits the tags of the former, and this one among them."""

    @classmethod
    def this(cls, run: str) -> "Process":
        """The process that asks."""
        return cls(socket.gethostname(), _boot(), os.getpid(), _born(psutil.Process()), run)

    @classmethod
    def of(cls, run: dg.DagsterRun) -> "Process | None":
        """The process that executes a run, if it said so."""
        parts = run.tags.get(PROCESS, "").split("|")
        if len(parts) == _FORMER:
            parts.insert(1, "")
        if len(parts) != _FORMER + 1 or parts[-1] != run.run_id:
            return None
        return cls(parts[0], parts[1], int(parts[2]), float(parts[3]), parts[4])

    @property
    def tag(self) -> dict[str, str]:
        """The run tag that names it."""
        return {PROCESS: f"{self.host}|{self.boot}|{self.pid}|{self.born:.2f}|{self.run}"}

    def gone(self) -> bool:
        """Whether it has ended, as far as can be seen from here: of another host's processes nothing can."""
        if self.host != socket.gethostname():
            return False
        if self.boot and (now := _boot()) and self.boot != now:
            return True
        try:
            found = psutil.Process(self.pid)
            return abs(_born(found) - self.born) > 2 or found.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True


def _boot() -> str:
    """A name of this start of the machine, which no other start has."""
    return _BOOT.read_text().strip() if _BOOT.exists() else ""


def _born(process: psutil.Process) -> float:
    """Seconds after the machine's start: that time of day and the process's move alike where the clock is set."""
    return process.create_time() - psutil.boot_time()


_said: set[str] = set()


def say_who_executes(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Called in the process of a run, as its resources are made: the run gets the tag of the process, once.

    Raises:
        Failure: the run was ended meanwhile, since its process was so long in coming up; another may do its work.
    """
    if Process.of(run) is None and run.run_id not in _said:
        now = instance.get_run_by_id(run.run_id)
        if now is not None and now.status not in UNDER_WAY:
            raise dg.Failure("this run was ended before its process came up: nothing is done", allow_retries=False)
        instance.add_run_tags(run.run_id, Process.this(run.run_id).tag)
        _said.add(run.run_id)


def end_killed_runs(instance: dg.DagsterInstance, *, daemon: bool = True) -> int:
    """Mark runs as failed whose process is gone, or never came up; returns how many.

    Runs of other hosts are left to run monitoring, which ends those that outlive its bound. A run that was taken from
    the queue by a daemon that was gone before a code server had heard of it is nobody's failure: it goes back into the
    queue.

    Args:
        instance: where the runs are recorded.
        daemon: whether a daemon is there to take runs from the queue; else those too are marked as failed.
    """
    ended = 0
    for record in instance.get_run_records(dg.RunsFilter(statuses=_HAS_PROCESS)):
        why = _why_over(instance, record)
        if why == NEVER_LAUNCHED and daemon and _queue_again(instance, record.dagster_run.run_id):
            continue
        if why is not None:
            ended += _end(instance, record.dagster_run.run_id, why)
    return ended


def _why_over(instance: dg.DagsterInstance, record: dg.RunRecord) -> str | None:
    """Why nothing more will come of a run as it stands; None where something may."""
    run = record.dagster_run
    if process := Process.of(run):
        return GONE if process.gone() else None
    since = record.update_timestamp.replace(tzinfo=dt.UTC).timestamp()
    if run.status != dg.DagsterRunStatus.STARTING and record.start_time:
        since = record.start_time
    waited = dt.datetime.now(dt.UTC).timestamp() - since
    if waited > LAUNCH_SECONDS and _launched_by_a_daemon(instance, run) and not _executed(run, since):
        return NEVER_LAUNCHED
    return NEVER_UP if waited > START_SECONDS else None


def _launched_by_a_daemon(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a run has left the queue, and its daemon asks a code server to execute it."""
    return (
        run.status == dg.DagsterRunStatus.STARTING
        and isinstance(instance.run_coordinator, dg.QueuedRunCoordinator)
        and isinstance(instance.run_launcher, dg.DefaultRunLauncher)
    )


def _executed(run: dg.DagsterRun, since: float) -> bool:
    """Whether a code server executes a run; that may be so where it does not answer, or was started since.

    Before it is asked to, the run is told where it is to be found.
    """
    if (told := run.tags.get(GRPC_INFO_TAG)) is None:
        return False
    if psutil.Process().create_time() > since:  # sensors live in the code server: a younger one knows of no older run
        return True
    try:
        asked = CanCancelExecutionRequest(run_id=run.run_id)
        answer = DagsterGrpcClient(**json.loads(told)).can_cancel_execution(asked, timeout=_ANSWER_SECONDS)
    except DagsterUserCodeUnreachableError:
        return True
    return deserialize_value(answer, CanCancelExecutionResult).can_cancel


def _queue_again(instance: dg.DagsterInstance, run_id: str) -> bool:
    """As the daemon itself does with a run whose code server did not answer it; no more than a few times.

    Another tick may have done so since the run was looked at: then it is left alone.
    """
    times = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.RUN_ENQUEUED).records
    if len(times) >= MOST_LAUNCHES:
        return False
    record = instance.get_run_record_by_id(run_id)
    if record is not None and _why_over(instance, record) == NEVER_LAUNCHED:
        instance.report_engine_event(NEVER_LAUNCHED + ": it goes back into the queue", record.dagster_run)
        instance.report_dagster_event(dg.DagsterEvent.job_enqueue(record.dagster_run), run_id)
    return True


def _end(instance: dg.DagsterInstance, run_id: str, why: str) -> bool:
    """The run as failed, or as cancelled where that was asked for; not where it has ended since it was looked at."""
    run = instance.get_run_by_id(run_id)
    if run is None or run.status not in _HAS_PROCESS:
        return False
    if run.status == dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, message=why)
    else:
        instance.report_run_failed(run, why)
    return True
