"""Bodies over a raw socket, as no client library would send them: refused, and everybody else is served meanwhile."""

import gzip
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest

from tests.faults.sender import Sender
from tests.live import LiveService, running_service
from tests.payments.deliveries import an_event, signature, stored, webhook_path

pytestmark = pytest.mark.slow
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def live_service(tmp_path_factory: pytest.TempPathFactory, run_database: str, sandbox: Any) -> Iterator[LiveService]:
    """One service for all of these: it must bear them one after the other."""
    directory = tmp_path_factory.mktemp("service")
    with running_service(directory, sandbox.url, parts=("web", "worker")) as service:
        yield service


def port_of(sender: Sender) -> int:
    return int(sender.url.rpartition(":")[2])


def connect(sender: Sender) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port_of(sender)), timeout=15)
    connection.settimeout(15)
    return connection


def head(sender: Sender, *lines: str) -> bytes:
    request = [f"POST {webhook_path(sender.shop.project)} HTTP/1.1", "Host: 127.0.0.1", *lines, "", ""]
    return "\r\n".join(request).encode()


def status_of(connection: socket.socket) -> int:
    answer = b""
    try:
        while b"\r\n" not in answer:
            received = connection.recv(4096)
            if not received:
                break
            answer += received
    except ConnectionError:
        return 0
    return int(answer.split()[1]) if answer else 0


def send_chunks(connection: socket.socket, body: bytes, size: int = 65_536) -> None:
    try:
        for start in range(0, len(body), size):
            part = body[start : start + size]
            connection.sendall(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        connection.sendall(b"0\r\n\r\n")
    except ConnectionError:
        return


def web_bytes(service: LiveService) -> int:
    web = service.processes["web"]
    return sum(process.memory_info().rss for process in [web, *web.children(recursive=True)])


def check_that_others_are_served(sender: Sender) -> None:
    begun = time.monotonic()
    assert sender.send(an_event()) == 200
    assert time.monotonic() - begun < 1


def test_a_chunked_event_without_a_length_is_taken(live_service: LiveService, sender: Sender) -> None:
    body = json.dumps(an_event()).encode()
    with connect(sender) as connection:
        connection.sendall(head(sender, "Transfer-Encoding: chunked", f"Stripe-Signature: {signature(body)}"))
        send_chunks(connection, body, 100)
        assert status_of(connection) == 200
    assert stored(sender.shop.project).count() == 1


@pytest.mark.parametrize("chunked", [True, False])
def test_ten_megabytes_are_refused_without_being_kept(live_service: LiveService, sender: Sender, chunked: bool) -> None:
    check_that_others_are_served(sender)
    before = web_bytes(live_service)
    body = b"x" * (10 * MIB)
    for _ in range(3):
        with connect(sender) as connection:
            length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
            connection.sendall(head(sender, length, "Stripe-Signature: t=1,v1=" + "0" * 64))
            if chunked:
                send_chunks(connection, body)
            else:
                try:
                    connection.sendall(body)
                except ConnectionError:
                    pass
            assert status_of(connection) in (413, 0)
    assert web_bytes(live_service) - before < 20 * MIB
    check_that_others_are_served(sender)
    assert stored(sender.shop.project).count() == 2


def test_slow_bodies_do_not_keep_others_waiting(live_service: LiveService, sender: Sender) -> None:
    slow = [connect(sender) for _ in range(3)]
    try:
        for connection in slow:
            connection.sendall(head(sender, "Content-Length: 1000", "Stripe-Signature: t=1,v1=" + "0" * 64))
            connection.sendall(b"{")
        time.sleep(0.5)
        check_that_others_are_served(sender)
    finally:
        for connection in slow:
            connection.close()
    check_that_others_are_served(sender)


def test_a_compressed_bomb_is_only_bytes(live_service: LiveService, sender: Sender) -> None:
    bomb = gzip.compress(b"0" * (100 * MIB))
    headers = {"Content-Encoding": "gzip", "Stripe-Signature": signature(bomb)}
    before = web_bytes(live_service)
    answer = httpx.post(sender.url + webhook_path(sender.shop.project), content=bomb, headers=headers, timeout=10)
    assert answer.status_code == 400
    assert web_bytes(live_service) - before < 20 * MIB
    assert not stored(sender.shop.project).exists()


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"[" * 100_000 + b"]" * 100_000, {}),
        (b"\xff\xfe", {}),
        (b"{}", {"Content-Length": "abc"}),
        (b"{}", {"Transfer-Encoding": "chunked", "Content-Length": "2"}),
    ],
)
def test_odd_bodies_are_4xx_and_never_5xx(
    live_service: LiveService, sender: Sender, body: bytes, headers: dict[str, Any]
) -> None:
    lines = {"Content-Length": str(len(body)), "Stripe-Signature": signature(body), "Connection": "close"} | headers
    with connect(sender) as connection:
        connection.sendall(head(sender, *(f"{name}: {value}" for name, value in lines.items())) + body)
        connection.shutdown(socket.SHUT_WR)
        assert status_of(connection) in (0, 400, 413)
    assert not stored(sender.shop.project).exists()
    assert psutil.pid_exists(live_service.processes["web"].pid)
    check_that_others_are_served(sender)
