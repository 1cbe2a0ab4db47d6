"""What is asked of a token budget, and what it answers: as Redis writes it and as it is kept under an idempotency key."""

import hashlib
import uuid
from dataclasses import dataclass
from typing import Any

NOTHING = "-"
ALL_RESERVED = -1


@dataclass(frozen=True, slots=True)
class Once:
    """An idempotency key of a caller, and what makes two requests with it the same."""

    name: str
    fingerprint: str

    @classmethod
    def of(cls, *, caller: str, key: str, request: str) -> "Once":
        """Hash what callers send, which may be long and is nobody's business in Redis."""
        return cls(hashlib.sha256(f"{caller}:{key}".encode()).hexdigest(), hashlib.sha256(request.encode()).hexdigest())


@dataclass(slots=True, eq=False)
class Ask:
    """One operation on one account."""

    project_id: uuid.UUID
    mode: str
    end_user_id: uuid.UUID
    operation: str
    tokens: int = 0
    reservation_id: str = ""
    ttl_seconds: int = 0
    once: Once | None = None

    @property
    def whose(self) -> dict[str, Any]:
        """The account's ids."""
        return {"project_id": self.project_id, "mode": self.mode, "end_user_id": self.end_user_id}


@dataclass(frozen=True, slots=True)
class Budget:
    """A budget after an operation on `tokens` of it. Units: whole tokens, Unix seconds; a limit of None is no limit."""

    tokens: int
    limit: int | None
    used: int
    reserved: int
    starts_unix: int
    ends_unix: int | None
    reservation_id: str | None = None
    expires_unix_ms: int | None = None
    # The stored first answer to a repeated request.
    replayed: bool = False
    # False: as it was journalled, since Redis could not be asked.
    exact: bool = True

    @property
    def remaining(self) -> int | None:
        """What may still be used or reserved; None = any number."""
        return None if self.limit is None else max(0, self.limit - self.used - self.reserved)

    @classmethod
    def from_words(cls, words: list[str], *, replayed: bool = False) -> "Budget":
        """Read what `text` wrote."""
        tokens, limit, used, reserved, starts, ends, reservation, expires = words
        return cls(
            tokens=int(tokens),
            limit=_number(limit),
            used=int(used),
            reserved=int(reserved),
            starts_unix=int(starts),
            ends_unix=_number(ends),
            reservation_id=None if reservation == NOTHING else reservation,
            expires_unix_ms=_number(expires),
            replayed=replayed,
        )

    @property
    def text(self) -> str:
        """The facts as the script writes them."""
        parts = [
            self.tokens,
            self.limit,
            self.used,
            self.reserved,
            self.starts_unix,
            self.ends_unix,
            self.reservation_id,
        ]
        return " ".join(NOTHING if part is None else str(part) for part in [*parts, self.expires_unix_ms])


def _number(text: str) -> int | None:
    return None if text == NOTHING else int(text)
