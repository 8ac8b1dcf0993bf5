"""An S3 server of one's own: moto's, on a free port of the loopback, with one bucket."""

import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from upath import UPath

from cer_assets_tests.e2e.live import free_port

BUCKET = "shop"


def installed() -> bool:
    """Whether moto's server is there."""
    return find_spec("moto") is not None and find_spec("flask") is not None


@contextmanager
def server(log: Path) -> Iterator[Mapping[str, str]]:
    """A running server with an empty bucket; the variables under which every client finds it."""
    port = free_port()
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": secrets.token_hex(8),
        "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16),
        "CER_LANDING": f"s3://{BUCKET}/landing",
        "CER_LAKE": f"s3://{BUCKET}/lake",
    }
    program = Path(sys.executable).parent / "moto_server"
    with log.open("wb") as output:
        moto = subprocess.Popen([program, "-H", "127.0.0.1", "-p", str(port)], stdout=output, stderr=output)
    try:
        end = time.monotonic() + 60
        while not _answers(variables["AWS_ENDPOINT_URL"]):
            assert moto.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        place(f"s3://{BUCKET}", variables).mkdir()
        yield variables
    finally:
        moto.terminate()
        moto.wait(20)


def place(address: str, variables: Mapping[str, str]) -> UPath:
    """An address on the server, without a variable of this process."""
    return UPath(
        address,
        key=variables["AWS_ACCESS_KEY_ID"],
        secret=variables["AWS_SECRET_ACCESS_KEY"],
        endpoint_url=variables["AWS_ENDPOINT_URL"],
    )


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
