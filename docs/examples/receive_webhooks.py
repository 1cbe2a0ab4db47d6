"""Receives webhooks. Needs `pip install standardwebhooks`; runs with WEBHOOK_SECRET=whsec_... python receive_webhooks.py 9000"""

import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

webhook = Webhook(os.environ["WEBHOOK_SECRET"])
# An event may come twice. Keep its id in a table of yours with a unique key, and write it together with what the event changes.
seen: set[str] = set()


def handle(event: dict[str, Any]) -> None:
    """Do what the event asks for. The data is the state when it was told: of two that cross, believe the newer timestamp."""
    print(event["type"], event["timestamp"], event["data"].get("external_user_id"), flush=True)


class Receiver(BaseHTTPRequestHandler):
    """Answers 2xx for what was taken; for anything else the event comes again."""

    def do_POST(self) -> None:
        """Verify the bytes as they came, before anything reads them."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            event = webhook.verify(body, dict(self.headers))
        except (WebhookVerificationError, ValueError):
            return self.answer(400)
        if self.headers["webhook-id"] not in seen:
            handle(event)
            seen.add(self.headers["webhook-id"])
        return self.answer(204)

    def answer(self, status: int) -> None:
        """Answer without a body."""
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
