"""Puts the parts together: the API under /v1, the hosted pages, the switches under /_sandbox, LiteLLM and GitHub."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from flask import Flask, Response, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from . import console, control, delivery, github, hosted, litellm, money_switches, violations
from .dispatch import ConnectionDropped, Dispatcher
from .errors import StripeError
from .store import Store

DATABASE_NAME = "sandbox.sqlite3"
BODY_BYTES_MAX = 2 * 1024 * 1024
API_METHODS = ["GET", "POST", "DELETE", "PUT", "PATCH"]

logger = logging.getLogger("sandbox")


def open_store(data_directory: Path, *, reset: bool = False, public_url: str = "http://127.0.0.1:8420") -> Store:
    """Open (or, with reset, begin anew) the sandbox's storage in a directory."""
    data_directory.mkdir(parents=True, exist_ok=True)
    if reset:
        for name in (DATABASE_NAME, DATABASE_NAME + "-wal", DATABASE_NAME + "-shm"):
            (data_directory / name).unlink(missing_ok=True)
    schema = [*delivery.SCHEMA, *litellm.SCHEMA, *github.SCHEMA]
    return Store(data_directory / DATABASE_NAME, extra_schema=schema, public_url=public_url)


def create_app(dispatcher: Dispatcher) -> Flask:
    """Make the WSGI application."""
    app = Flask("sandbox", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = BODY_BYTES_MAX
    app.config["PROPAGATE_EXCEPTIONS"] = True
    app.register_blueprint(control.blueprint(dispatcher))
    app.register_blueprint(console.blueprint(dispatcher))
    app.register_blueprint(money_switches.blueprint(dispatcher.store))
    app.register_blueprint(hosted.blueprint(dispatcher.store))
    app.register_blueprint(litellm.blueprint(dispatcher))
    app.register_blueprint(github.blueprint(dispatcher))
    app.register_blueprint(violations.blueprint())

    @app.route("/", defaults={"rest": ""}, methods=API_METHODS)
    @app.route("/<path:rest>", methods=API_METHODS)
    def api(rest: str) -> ResponseReturnValue:
        return dispatcher.answer(request)

    @app.errorhandler(Exception)
    def failed(error: Exception) -> ResponseReturnValue:
        if isinstance(error, ConnectionDropped):
            raise error
        if isinstance(error, HTTPException):
            refusal = StripeError(error.description or error.name, http_status=error.code or 500)
        else:
            # A defect of the sandbox: the traceback goes to the log, the client sees Stripe's own 500.
            logger.exception("request failed: %s %s", request.method, request.path)
            refusal = StripeError("An unknown error occurred in the sandbox.", http_status=500, type="api_error")
        return Response(json.dumps(refusal.body()), status=refusal.http_status, content_type="application/json")

    return app
