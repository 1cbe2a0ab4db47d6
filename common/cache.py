"""How values are written to the shared cache: as JSON, never as pickles, which would run code when read."""

import json
from typing import Any


class JsonSerializer:
    """Named by CACHES; whole numbers stay plain, so that Redis can count them."""

    def dumps(self, value: Any) -> int | bytes:
        """Write a value."""
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        return json.dumps(value).encode()

    def loads(self, data: bytes) -> Any:
        """Read a value back."""
        return json.loads(data)
