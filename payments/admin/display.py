"""How values are shown in the admin."""

import json
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString

from common.logs import redact
from payments.services.dead_letters import without_buyers_links
from payments.services.snapshot import without_client_secrets


def pretty_json(value: Any) -> SafeString | str:
    """Show JSON without the secrets that Stripe puts into some objects, and without pages that act for a buyer."""
    if value is None:
        return "-"
    shown = without_buyers_links(without_client_secrets(value))
    text = redact(json.dumps(shown, indent=2, sort_keys=True, ensure_ascii=False))
    return format_html('<pre style="white-space: pre-wrap; overflow-wrap: anywhere">{}</pre>', text)


def counted(count: int, noun: str) -> str:
    """Write a count with its noun: 1 event, 2 events."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def link(address: str) -> SafeString | str:
    """Link to an address of Stripe's; anything that is no web address is shown as text."""
    if not address.startswith(("https://", "http://")):
        return address or "-"
    return format_html('<a href="{}" rel="noreferrer noopener" target="_blank">{}</a>', address, address)
