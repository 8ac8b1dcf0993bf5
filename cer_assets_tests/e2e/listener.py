"""Someone who hears alerts: a web address on the loopback that keeps what is posted to it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Listener:
    """What was heard so far, in order."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.heard: list[dict[str, Any]] = []

    def began(self) -> set[str]:
        """Where something was ever said to be wrong."""
        return {alert["where"] for alert in self.heard if not alert["over"]}

    def ended(self) -> set[str]:
        """Where it was said to be right again, and nothing since."""
        last = {alert["where"]: alert["over"] for alert in self.heard}
        return {where for where, over in last.items() if over}


@contextmanager
def listening() -> Iterator[Listener]:
    """A listener for as long as the block lasts."""
    heard: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name that http.server calls
            heard.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["alerts"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing: what is heard is kept, not printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener = Listener(f"http://127.0.0.1:{server.server_port}/alerts")
    listener.heard = heard
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield listener
    finally:
        server.shutdown()
        server.server_close()
