"""Runs the sandbox: python -m sandbox --port 8420 --data DIR [--reset] [--host 127.0.0.1] [--public-url URL]."""

from __future__ import annotations

import argparse
import logging
import signal
import socket
import threading
from pathlib import Path
from types import FrameType

from werkzeug.serving import ThreadedWSGIServer, make_server

from . import delivery
from .app import create_app, open_store
from .billing.engine import Engine
from .dispatch import Dispatcher
from .serving import RequestHandler

POLL_SECONDS = 0.1


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="A stateful stand-in for Stripe's API.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8420, help="0 picks a free port")
    parser.add_argument("--data", type=Path, required=True, help="directory that keeps the state")
    parser.add_argument("--reset", action="store_true", help="begin with an empty state")
    parser.add_argument("--public-url", help="address that browsers use for hosted pages")
    return parser.parse_args(arguments)


def serve(options: argparse.Namespace) -> None:
    """Serve until SIGINT or SIGTERM."""
    listener = socket.create_server((options.host, options.port), backlog=256)
    address = f"http://{options.host}:{listener.getsockname()[1]}"
    store = open_store(options.data, reset=options.reset, public_url=(options.public_url or address).rstrip("/"))
    dispatcher = Dispatcher(store)
    server = make_server(
        options.host,
        listener.getsockname()[1],
        create_app(dispatcher),
        threaded=True,
        request_handler=RequestHandler,
        fd=listener.fileno(),
    )
    assert isinstance(server, ThreadedWSGIServer)
    engine = Engine(store)

    def stop(signal_number: int, frame: FrameType | None) -> None:
        # shutdown() waits for serve_forever(), which runs in this very thread.
        dispatcher.faults.stopping.set()
        threading.Thread(target=server.shutdown, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    delivery.start(store)
    engine.start()
    print(f"SANDBOX READY {address}", flush=True)
    try:
        server.serve_forever(poll_interval=POLL_SECONDS)
    finally:
        engine.stop()
        delivery.stop()
        store.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    serve(parse_arguments())
