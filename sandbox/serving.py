"""Answers HTTP for the sandbox: connections stay open, and an answer leaves at once.

Werkzeug's development server ends every connection after one answer and then waits whether more was sent. A library that
keeps its connections, as Stripe's do, would pay for a new one with every call.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

from werkzeug.serving import WSGIRequestHandler

# Longer bodies are refused anyway, and are left to werkzeug, which reads what a refused client goes on sending.
BODY_BYTES_MAX = 2 * 1024 * 1024
WITHOUT_BODY = (204, 304)


class RequestHandler(WSGIRequestHandler):
    """Keeps connections open, sends small answers at once, and says nothing about good requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def run_wsgi(self) -> None:
        """Answer one request whose body has a declared length; any other the way werkzeug does."""
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdecimal() or int(length) > BODY_BYTES_MAX:
            super().run_wsgi()
            return
        if self.headers.get("Expect", "").lower().strip() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.environ = environ = self.make_environ()
        # All of it is read whatever the application reads: the rest would be taken for the next request.
        environ["wsgi.input"] = io.BytesIO(self.rfile.read(int(length)))
        try:
            self._answer(environ)
        except self.connection_dropped_errors as error:
            self.connection_dropped(error, environ)
        except Exception:
            self.close_connection = True
            raise

    def _answer(self, environ: dict[str, Any]) -> None:
        begun: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            begun[:] = [status, headers]
            return lambda data: None

        answer: Iterable[bytes] = self.server.app(environ, start_response)
        try:
            self._send(begun[0], begun[1], answer)
        finally:
            if hasattr(answer, "close"):
                answer.close()

    def _send(self, status: str, headers: list[tuple[str, str]], answer: Iterable[bytes]) -> None:
        code, _, reason = status.partition(" ")
        self.send_response(int(code), reason)
        for name, value in headers:
            self.send_header(name, value)
        # One that drips out piece by piece does not know its length.
        pieces = not any(name.lower() == "content-length" for name, _ in headers) and int(code) not in WITHOUT_BODY
        if pieces:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if self.command == "HEAD":
            return
        for data in answer:
            if data:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data) if pieces else data)
        if pieces:
            self.wfile.write(b"0\r\n\r\n")

    def connection_dropped(self, error: BaseException, environ: object = None) -> None:
        """End the connection that was cut."""
        self.close_connection = True

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Leave requests to the request log."""

    def version_string(self) -> str:
        """Name the server."""
        return "sandbox"
