"""The guard for user-supplied addresses: nothing private is ever called, whatever it is written like."""

import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from common.errors import FieldError
from common.outgoing import (
    SERVICES,
    WEBHOOKS,
    OutgoingFailed,
    OutgoingRefused,
    check_before_saving,
    check_url,
    fetch,
    is_public,
)

pytestmark = pytest.mark.no_db


class Peer(BaseHTTPRequestHandler):
    """A small peer whose path says how it behaves."""

    requests: list[tuple[str, str]] = []

    def do_GET(self) -> None:
        Peer.requests.append((self.path, self.headers["Host"]))
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "http://169.254.169.254/latest/meta-data/")
            self.end_headers()
        elif self.path == "/drip":
            self.send_response(200)
            self.end_headers()
            try:
                for _ in range(100):
                    self.wfile.write(b"x")
                    self.wfile.flush()
                    time.sleep(0.1)
            except OSError:
                pass
        elif self.path == "/large":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x" * 10_000)
        elif self.path == "/gzip":
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip")
            self.end_headers()
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def peer() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Peer)
    Peer.requests = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def loopback(host: str, port: int) -> list[str]:
    """Resolve every name to this machine."""
    return ["127.0.0.1"]


def test_an_opened_host_is_called_under_its_own_name(peer: int, settings: Any) -> None:
    settings.OUTGOING_ALLOWED_HOSTS = [f"idp.example:{peer}"]
    answer = fetch("GET", f"http://idp.example:{peer}/keys", resolver=lambda host, port: ["127.0.0.1"])
    assert (answer.status_code, answer.content) == (200, b"hello")
    assert Peer.requests == [("/keys", f"idp.example:{peer}")]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://127.0.0.1:8080/",
        "http://[::1]/",
        "http://0.0.0.0/",
        "http://0x7f000001/",
        "http://2130706433/",
        "http://127.1/",
        "http://0177.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://100.64.0.1/",
        "http://10.0.0.1/",
        "http://192.168.1.1/",
        "http://172.16.0.1/",
        "http://[fd00::1]/",
        "http://[fe80::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[::127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[64:ff9b:1::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://[2001:0:7f00:1::]/",
        "http://224.0.0.1/",
        "http://255.255.255.255/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_INFO",
        "unix:/var/run/docker.sock",
        "http+unix://%2Fvar%2Frun%2Fdocker.sock/",
        "ftp://example.com/",
        "https://user@example.com/",
        "https://user:secret@example.com/",
        "https://example.com@127.0.0.1/",
        "https://example.com./",
        "https://exämple.com/",
        "https://example.com:6379/",
        "https://example.com:22/",
        "https://example.com:99999/",
        "https://exa mple.com/",
        "https://example.com\\@127.0.0.1/",
        "https://example.com/\r\nX: y",
        "https:///path",
        "//example.com/",
        "",
        "https://" + "a" * 3000 + ".com/",
    ],
)
def test_a_private_or_odd_address_is_refused_without_a_question_to_dns(url: str, settings: Any) -> None:
    settings.OUTGOING_ALLOWED_HOSTS = []
    asked: list[str] = []

    def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    with pytest.raises(OutgoingRefused):
        fetch("GET", url, resolver=resolver)
    assert asked == []


@pytest.mark.parametrize(
    "private", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fd00::8", "::ffff:10.0.0.1", "100.64.0.9"]
)
def test_a_public_name_with_one_private_address_is_refused(private: str, settings: Any, peer: int) -> None:
    settings.OUTGOING_ALLOWED_HOSTS = []
    with pytest.raises(OutgoingRefused):
        fetch("GET", "http://rebind.example:8080/", resolver=lambda host, port: ["93.184.216.34", private])
    assert Peer.requests == []


def test_the_name_is_resolved_once_and_the_checked_address_is_called(peer: int, settings: Any) -> None:
    # The second answer of a rebinding server would be 127.0.0.1; it is never asked for.
    settings.OUTGOING_ALLOWED_HOSTS = []
    answers = iter([["192.0.2.10"], ["127.0.0.1"]])
    with pytest.raises(OutgoingRefused):
        fetch("GET", "http://rebind.example:8080/", resolver=lambda host, port: next(answers))
    assert next(answers) == ["127.0.0.1"]

    asked: list[str] = []
    connected: list[tuple[str, int]] = []
    real_connect = socket.create_connection

    def recording_connect(address: tuple[str, int], *args: Any, **kwargs: Any) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError

    def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["93.184.216.34"]

    socket.create_connection = recording_connect  # type: ignore[assignment]
    try:
        with pytest.raises(OutgoingFailed):
            fetch("GET", "http://rebind.example:8080/", resolver=resolver)
    finally:
        socket.create_connection = real_connect
    assert asked == ["rebind.example"]
    assert connected == [("93.184.216.34", 8080)]


def test_a_redirect_is_not_followed(peer: int, settings: Any) -> None:
    settings.OUTGOING_ALLOWED_HOSTS = [f"127.0.0.1:{peer}"]
    assert fetch("GET", f"http://127.0.0.1:{peer}/redirect").status_code == 302
    assert len(Peer.requests) == 1


def test_the_host_is_opened_for_its_port_only(peer: int, settings: Any) -> None:
    settings.OUTGOING_ALLOWED_HOSTS = ["127.0.0.1:1"]
    with pytest.raises(OutgoingRefused):
        fetch("GET", f"http://127.0.0.1:{peer}/")
    assert Peer.requests == []


def test_what_is_opened_for_one_purpose_stays_closed_to_the_other(peer: int, settings: Any) -> None:
    settings.OUTGOING_ALLOWED_HOSTS, settings.WEBHOOK_ALLOWED_HOSTS = [f"127.0.0.1:{peer}"], [f"localhost:{peer}"]
    ways = {SERVICES: "127.0.0.1", WEBHOOKS: "localhost"}
    for purpose, host in ways.items():
        for other in ways.values():
            try:
                status = fetch("GET", f"http://{other}:{peer}/", purpose=purpose, resolver=loopback).status_code
            except OutgoingRefused:
                status = 0
            assert (status == 200) is (other == host), (purpose.setting, other)
    assert len(Peer.requests) == 2


def test_an_address_is_checked_before_it_is_saved_and_names_the_field(settings: Any) -> None:
    settings.OUTGOING_ALLOWED_HOSTS = ["proxy.internal:4000"]

    def check(url: str) -> str:
        parts = {"query": "No query.", "fragment": "No fragment."}
        try:
            return check_before_saving(
                url, field="base_url", whose="acme", why_https="Use https.", leave_out=parts
            ).host
        except FieldError as error:
            (problem,) = error.errors
            assert problem["loc"] == ["body", "base_url"]
            return str(problem["msg"])

    assert check("https://93.184.216.34/") == "93.184.216.34"
    assert check("https://nowhere.invalid/") == "nowhere.invalid", "it may resolve later"
    assert check("http://proxy.internal:4000/") == "proxy.internal"
    assert check("http://93.184.216.34/") == "Use https."
    assert check("https://93.184.216.34/?a=1") == "No query."
    assert check("https://93.184.216.34/#a") == "No fragment."
    assert "public internet" in check("https://127.0.0.1/")
    assert "public internet" in check("https://localhost/")
    assert "OUTGOING_ALLOWED_HOSTS" in check("https://localhost/"), "whoever runs it learns what opens the host"
    assert "OUTGOING_ALLOWED_HOSTS" in check("http://127.0.0.1:9107/hook")
    assert "ALLOWED_HOSTS" not in check("https://93.184.216.34/#a")


def test_a_long_answer_is_cut_off(peer: int, settings: Any) -> None:
    settings.OUTGOING_ALLOWED_HOSTS = ["127.0.0.1"]
    with pytest.raises(OutgoingFailed, match="longer than 1000 bytes"):
        fetch("GET", f"http://127.0.0.1:{peer}/large", max_bytes=1000)


def test_a_dripping_answer_ends_at_the_deadline(peer: int, settings: Any) -> None:
    settings.OUTGOING_ALLOWED_HOSTS = ["127.0.0.1"]
    started = time.monotonic()
    with pytest.raises(OutgoingFailed):
        fetch("GET", f"http://127.0.0.1:{peer}/drip", timeout=0.5)
    assert time.monotonic() - started < 1.5


def test_a_compressed_answer_is_refused(peer: int, settings: Any) -> None:
    settings.OUTGOING_ALLOWED_HOSTS = ["127.0.0.1"]
    with pytest.raises(OutgoingFailed, match="compressed"):
        fetch("GET", f"http://127.0.0.1:{peer}/gzip")


def test_a_name_that_does_not_resolve_may_be_tried_again(settings: Any) -> None:
    def resolver(host: str, port: int) -> list[str]:
        raise socket.gaierror

    with pytest.raises(OutgoingFailed):
        fetch("GET", "https://nowhere.example/", resolver=resolver)


@pytest.mark.parametrize("address", ["93.184.216.34", "1.1.1.1", "2606:4700:4700::1111"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_a_plain_https_address_passes_the_text_check() -> None:
    target = check_url("https://idp.example/.well-known/jwks.json?v=1")
    assert (target.host, target.port, target.opened) == ("idp.example", 443, False)
