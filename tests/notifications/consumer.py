"""An app that listens: a small web server which remembers what came and answers as it is told."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Delivered:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        """What the body says."""
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass
class Consumer:
    """The app. The path of an address says how it answers; `answers` overrides that, one a request."""

    port: int = 0
    seen: list[Delivered] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)

    def url(self, path: str = "/hook") -> str:
        """Return an address of the app."""
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def host(self) -> str:
        """Name it as an operator opens it."""
        return f"127.0.0.1:{self.port}"


def _handler(app: Consumer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            app.seen.append(Delivered(self.path, headers, body))
            how = app.answers.pop(0) if app.answers else self.path.strip("/")
            if how == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
                self.connection.close()
                return
            if how == "hang":
                time.sleep(2)
            self._answer(how)

        def _answer(self, how: str) -> None:
            status = int(how) if how.isdigit() else {"redirect": 302, "busy": 429}.get(how, 200)
            self.send_response(status)
            if how == "redirect":
                self.send_header("Location", app.url("/elsewhere"))
            if how == "busy":
                self.send_header("Retry-After", "120")
            text = b"x" * 5_000_000 if how == "large" else f"seen \x00 {how}".encode()
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            try:
                self.wfile.write(text)
            except OSError:
                pass

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


@contextmanager
def running_consumer() -> Iterator[Consumer]:
    """Start an app for a while."""
    app = Consumer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(app))
    server.daemon_threads = True
    app.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield app
    finally:
        server.shutdown()
        server.server_close()
