"""Which process executes a run started by hand, and whether it is still there."""

import os

import dagster as dg
import psutil

PROCESS = "cer/process"
"""Run tag: the process that executes the run, so that a killed run can be told from a running one."""
UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def this_process() -> dict[str, str]:
    """The tag of runs that this process executes."""
    return {PROCESS: f"{os.getpid()}:{psutil.Process().create_time():.0f}"}


def end_killed_runs(instance: dg.DagsterInstance) -> int:
    """Mark runs as failed whose process is gone; returns how many.

    Runs that the daemon launched carry no such tag; run monitoring ends those that outlive its bound.
    """
    gone = [
        run
        for run in instance.get_runs(dg.RunsFilter(statuses=UNDER_WAY))
        if PROCESS in run.tags and not _alive(run.tags[PROCESS])
    ]
    for run in gone:
        instance.report_run_failed(run, "the process that executed this run is gone; what it left undone is due again")
    return len(gone)


def _alive(process: str) -> bool:
    pid, created = process.split(":")
    try:
        return f"{psutil.Process(int(pid)).create_time():.0f}" == created
    except psutil.NoSuchProcess:
        return False
