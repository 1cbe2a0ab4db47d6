"""The floor of the ingest benchmark: a WSGI application that does the same insert and commit, and nothing else.

No framework, no signature, no reading of the body: what one statement costs on the same server, pool and PostgreSQL.
"""

import os
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from psycopg_pool import ConnectionPool

INSERT = """
    INSERT INTO payments_webhookevent
        (id, project_id, mode, event_id, type, api_version, stripe_account_id, object_id, root, payload, status, attempts, error,
         wait_reason)
    VALUES (%s, %s, 'test', %s, 'customer.subscription.updated', '', '', '', %s, %s::jsonb, 'pending', 0, '', '')
    ON CONFLICT (project_id, mode, event_id) DO NOTHING
"""
_pool: ConnectionPool | None = None


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Insert one row and answer."""
    global _pool
    if _pool is None:
        _pool = ConnectionPool(os.environ["DATABASE_URL"], min_size=4, max_size=16, open=True)
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    if body:
        values = [uuid.uuid4(), os.environ["BENCH_PROJECT"], uuid.uuid4().hex, "cus_bench", body.decode()]
        with _pool.connection() as connection:
            connection.execute(INSERT, values)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [b'{"received": true}']
