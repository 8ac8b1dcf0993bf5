"""Which faults get another try."""

import errno
from collections.abc import Callable

import dagster as dg
import pytest
from sqlalchemy.exc import OperationalError

from cer_assets.defs.faults import RetryFaults, passes

SLOW_DOWN = "Generic S3 error: Error performing PUT, server returned status: 503 Service Unavailable"


class ClientError(Exception):
    """As botocore raises it."""

    def __init__(self, status: int) -> None:
        super().__init__("An error occurred")
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}


def caused_by(error: Exception) -> Exception:
    """An error of ours, raised from another."""
    outer = RuntimeError("the drop could not be read")
    outer.__cause__ = error
    return outer


@pytest.fixture(autouse=True)
def every_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is raised here is no `raise` of the package, whose words are kept."""
    monkeypatch.setenv("CER_ERRORS", "whole")


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ConnectionResetError("reset"), True),
        (TimeoutError("timed out"), True),
        (OSError(errno.EBUSY, "busy"), True),
        (OSError(errno.EIO, "input/output error"), True),
        (OSError(SLOW_DOWN), True),
        (OSError("Generic S3 error: request or response body error"), True),
        (caused_by(OSError(SLOW_DOWN)), True),
        (OperationalError("FATAL: the database system is starting up", None, Exception()), True),
        (OperationalError("server closed the connection unexpectedly", None, Exception()), True),
        (OperationalError('relation "runs" does not exist', None, Exception()), False),
        (ClientError(503), True),
        (ClientError(429), True),
        (ClientError(403), False),
        (OSError(errno.ENOSPC, "no space left on device"), False),
        (OSError("Generic LocalFileSystem error: No space left on device (os error 28)"), False),
        (OSError(errno.EROFS, "read-only file system"), False),
        (FileNotFoundError(errno.ENOENT, "no such file"), False),
        (PermissionError(errno.EACCES, "permission denied"), False),
        (ValueError("connection refused"), False),
        (KeyError("timed out"), False),
        (MemoryError(), False),
    ],
)
def test_a_fault_of_network_or_disk_passes_and_a_bug_does_not(error: Exception, again: bool) -> None:
    assert passes(error) is again


def tried(raised: Callable[[], Exception], *, in_output: bool = False) -> tuple[int, dg.ExecuteInProcessResult]:
    """How often a step is tried that raises, and what came of the run."""
    tries: list[int] = []

    class Tables(dg.IOManager):
        def handle_output(self, context: dg.OutputContext, obj: object) -> None:
            if in_output:
                tries.append(1)
                raise raised()

        def load_input(self, context: dg.InputContext) -> object: ...

    @dg.asset(io_manager_key="tables")
    def table() -> int:
        if in_output:
            return 1
        tries.append(1)
        raise raised()

    job = dg.define_asset_job("job", [table], op_retry_policy=RetryFaults(max_retries=2, delay=0))
    definitions = dg.Definitions(assets=[table], jobs=[job], resources={"tables": Tables()})
    with dg.DagsterInstance.ephemeral() as instance:
        done = definitions.resolve_job_def("job").execute_in_process(instance=instance, raise_on_error=False)
    return len(tries), done


def test_a_wrong_value_fails_at_once_and_says_what_is_wrong() -> None:
    times, done = tried(lambda: ValueError("amount is no number"))
    assert times == 1
    (error,) = [event.step_failure_data.error for event in done.all_events if event.is_step_failure]
    assert error is not None
    assert error.cause is not None
    assert "ValueError: amount is no number" in error.cause.message


def test_a_failure_of_ours_is_not_tried_again() -> None:
    times, done = tried(lambda: dg.Failure("no drop"))
    assert times == 1
    (failure,) = [event.step_failure_data for event in done.all_events if event.is_step_failure]
    assert failure.user_failure_data is not None
    assert failure.user_failure_data.description == "no drop"


@pytest.mark.parametrize("in_output", [False, True])
def test_a_busy_disk_is_asked_three_times(in_output: bool) -> None:
    times, done = tried(lambda: OSError(errno.EBUSY, "busy"), in_output=in_output)
    assert times == 3
    assert not done.success


def test_every_job_of_the_project_tries_again_by_this_rule(project: dg.Definitions) -> None:
    jobs = [job for job in project.jobs or [] if job.name not in ("rollback", "erasure")]
    assert len(jobs) >= 7
    for job in jobs:
        assert isinstance(getattr(job, "op_retry_policy", None), RetryFaults), job.name
