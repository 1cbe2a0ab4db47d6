"""The servers from the wheels: started, stopped, killed, frozen, taken over."""

import os
import signal
import stat
from pathlib import Path

import psycopg
import pytest
import redis

from config.embedded import (
    EmbeddedServerError,
    find_postgres,
    free_port,
    port_is_taken,
    start_postgres,
    start_redis,
    write_private,
)

pytestmark = pytest.mark.no_db


def test_postgres_keeps_what_was_committed_before_a_crash_and_its_successor_answers(server_dir: Path) -> None:
    first = start_postgres(server_dir / "keeps-pg", database="payments")
    with psycopg.connect(first.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (id int)")
        connection.execute("INSERT INTO kept VALUES (7)")
        assert connection.execute("SHOW fsync").fetchone() == ("on",)
    first.kill()
    second = start_postgres(server_dir / "keeps-pg", database="payments", port=first.port)
    try:
        with psycopg.connect(second.url) as connection:
            assert connection.execute("SELECT id FROM kept").fetchone() == (7,)
    finally:
        second.stop()
    assert not second.is_running()


def test_postgres_wants_its_password_which_only_its_owner_can_read(server_dir: Path) -> None:
    server = start_postgres(server_dir / "wants-pg")
    try:
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(f"postgres://payments:wrong@127.0.0.1:{server.port}/postgres")
        assert stat.S_IMODE((server_dir / "wants-pg.password").stat().st_mode) == 0o600
        assert (server_dir / "wants-pg.password").read_text() not in " ".join(server.process.cmdline())
    finally:
        server.stop()


def test_a_postgres_that_a_killed_parent_left_behind_is_replaced(server_dir: Path) -> None:
    left_behind = start_postgres(server_dir / "killed-pg", outlives_parent=True)
    found = find_postgres(server_dir / "killed-pg")
    assert found is not None and found.process.pid == left_behind.process.pid
    successor = start_postgres(server_dir / "killed-pg")
    try:
        assert not left_behind.is_running()
        assert successor.is_running()
    finally:
        successor.stop()
    assert find_postgres(server_dir / "killed-pg") is None


def test_a_server_that_cannot_start_says_why(server_dir: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="not_a_setting"):
        start_postgres(server_dir / "cannot-pg", settings={"not_a_setting": "1"})


def test_redis_keeps_its_data_over_a_stop_and_wants_its_password(tmp_path: Path) -> None:
    first = start_redis(tmp_path / "redis")
    redis.Redis.from_url(first.url).set("kept", "yes")
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=first.port).ping()
    assert (tmp_path / "redis.password").read_text() not in " ".join(first.process.cmdline())
    first.stop()
    second = start_redis(tmp_path / "redis", port=first.port)
    try:
        assert redis.Redis.from_url(second.url).get("kept") == b"yes"
    finally:
        second.stop()


def test_a_frozen_server_is_ended_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = start_redis(tmp_path / "redis", persistent=False)
    server.process.send_signal(signal.SIGSTOP)
    from config.embedded import stop_process

    stop_process(server.process, signal.SIGTERM, timeout=0.5)
    assert not server.is_running()


def test_a_taken_port_is_noticed(tmp_path: Path) -> None:
    port = free_port()
    assert not port_is_taken(port)
    server = start_redis(tmp_path / "redis", port=port, persistent=False)
    try:
        assert port_is_taken(port)
    finally:
        server.stop()


def test_a_private_file_is_never_readable_by_others(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_private(tmp_path / "deep" / "secret", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "deep" / "secret").stat().st_mode) == 0o600
    assert list((tmp_path / "deep").iterdir()) == [tmp_path / "deep" / "secret"]
