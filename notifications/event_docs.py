"""Writes docs/app-events.md from the table of events: python -m notifications.event_docs > docs/app-events.md"""

import json

from notifications.event_types import EVENT_TYPES

INTRODUCTION = """# Events for your app

Every type that a [webhook endpoint](outbound-webhooks.md) can ask for, with an example of its `data`. Made from the code by
`python -m notifications.event_docs`; a test compares them. Shapes are those of the API; new fields may be added to any of them.
"""


def render() -> str:
    """Return the whole file."""
    parts = [INTRODUCTION]
    for name, kind in EVENT_TYPES.items():
        example = json.dumps(dict(kind.example), indent=2, ensure_ascii=False)
        parts.append(f"\n## {name}\n{kind.about}\n\n```json\n{example}\n```\n")
    return "".join(parts)


if __name__ == "__main__":
    print(render(), end="")
