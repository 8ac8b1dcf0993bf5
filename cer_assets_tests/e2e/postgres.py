"""A PostgreSQL server of one's own: Debian's binaries over a throwaway folder, on a free port of the loopback."""

import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cer_assets_tests.e2e.live import free_port

USER, DATABASE = "dagster", "dagster"


def binaries() -> Path | None:
    """The folder of the newest installed server; None where there is none, or nobody to run it as."""
    servers = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if not servers or (os.getuid() == 0 and not shutil.which("setpriv")):
        return None
    return max(servers, key=lambda folder: int(re.sub(r"\D", "", folder.parent.name) or 0))


@contextmanager
def server() -> Iterator[Mapping[str, str]]:
    """A running server with an empty database; the variables under which libpq and `deploy/postgres.yaml` find it."""
    programs = binaries()
    assert programs is not None, "asked for a server where there is none"
    # Beside pytest's own folders: those are closed to the user that the server runs as.
    folder = Path(tempfile.mkdtemp(prefix="cer-postgres-"))
    variables = {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(free_port()),
        "PGUSER": USER,
        "PGPASSWORD": secrets.token_hex(8),
        "PGDATABASE": DATABASE,
    }
    try:
        word = folder / "password"
        word.write_text(variables["PGPASSWORD"])
        if os.getuid() == 0:
            shutil.chown(folder, "nobody", "nogroup")
            shutil.chown(word, "nobody", "nogroup")
        data = str(folder / "data")
        create = ["-D", data, "-U", USER, "-A", "scram-sha-256", f"--pwfile={word}", "-E", "UTF8", "--locale=C"]
        _done([*_unprivileged(), str(programs / "initdb"), *create])
        with _running(programs, folder, variables):
            yield variables
    finally:
        shutil.rmtree(folder)


@contextmanager
def _running(programs: Path, folder: Path, variables: Mapping[str, str]) -> Iterator[None]:
    # What a power cut would lose goes with the folder anyway.
    start = ["-D", str(folder / "data"), "-h", "127.0.0.1", "-p", variables["PGPORT"], "-k", str(folder), "-F"]
    with (folder / "log").open("wb") as log:
        postgres = subprocess.Popen(
            [*_unprivileged(), str(programs / "postgres"), *start], stdout=log, stderr=subprocess.STDOUT, cwd=folder
        )
    try:
        end = time.monotonic() + 60
        while subprocess.run([programs / "pg_isready", "-q"], env=os.environ | variables, check=False).returncode:
            assert postgres.poll() is None and time.monotonic() < end, (folder / "log").read_text()
            time.sleep(0.1)
        _done([str(programs / "createdb"), DATABASE], variables)
        yield
    finally:
        postgres.send_signal(signal.SIGINT)  # clients are sent away, what is committed is kept
        postgres.wait(30)


def _unprivileged() -> list[str]:
    """PostgreSQL refuses to run as root."""
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.getuid() == 0 else []


def _done(command: list[str], variables: Mapping[str, str] | None = None) -> None:
    environment = os.environ | dict(variables or {})
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
