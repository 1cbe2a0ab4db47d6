"""Fixtures of the outbox's tests: a peer that remembers what it was asked to do and can be told to misbehave."""

import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.notifications.consumer import Consumer, running_consumer

if TYPE_CHECKING:
    from notifications.models import OutboxRow
    from projects.models import Project
    from tests.notifications.listening import Listening


@dataclass
class Peer:
    """Stands for whatever is outside: effects of its kind reach it."""

    kind: str
    seen: list[str] = field(default_factory=list)
    behave: Callable[["OutboxRow"], Any] = lambda row: {"id": str(row.pk)}
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, row: "OutboxRow") -> Any:
        """Carry out an effect."""
        with self._lock:
            self.seen.append(row.effect_key)
        return self.behave(row)

    def ask(self, project: "Project", key: str, **more: Any) -> "OutboxRow":
        """Record an effect of this kind, as the writer of its cause does."""
        from django.db import transaction

        from notifications.models import OutboxRow
        from notifications.services.outbox import record_effect

        with transaction.atomic():
            values: dict[str, Any] = {"mode": "test", "kind": self.kind, "payload": {}} | more
            record_effect(project_id=project.pk, effect_key=key, **values)
        return OutboxRow.objects.get(project=project, mode=more.get("mode", "test"), effect_key=key)


@pytest.fixture
def peer(database: None) -> Iterator[Peer]:
    """A peer with a kind of its own, so that no other test's rows reach it."""
    from notifications.services import outbox

    found = Peer(f"probe_{uuid.uuid4().hex[:8]}")
    outbox.register_executor(found.kind, found)
    yield found
    outbox._executors.pop(found.kind)


@pytest.fixture
def app(settings: Any) -> Iterator[Consumer]:
    """An app that listens on this machine, which the operator has opened."""
    with running_consumer() as found:
        settings.WEBHOOK_ALLOWED_HOSTS = [found.host]
        yield found


@pytest.fixture
def listening(app: Consumer, acme: "Project") -> "Listening":
    """Acme's app listens to everything in test mode."""
    from tests.notifications.listening import listen

    return listen(acme, app)
