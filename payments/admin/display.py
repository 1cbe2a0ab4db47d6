"""How values are shown in the admin."""

import json
from collections.abc import Mapping
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from common.logs import redact
from common.money import money_text
from payments.services.dead_letters import without_buyers_links
from payments.services.snapshot import without_client_secrets


def pretty_json(value: Any) -> SafeString | str:
    """Show JSON without the secrets that Stripe puts into some objects, and without pages that act for a buyer."""
    if value is None:
        return "-"
    shown = without_buyers_links(without_client_secrets(value))
    text = redact(json.dumps(shown, indent=2, sort_keys=True, ensure_ascii=False))
    return format_html('<pre style="white-space: pre-wrap; overflow-wrap: anywhere">{}</pre>', text)


def facts(details: Mapping[str, Any]) -> SafeString | str:
    """Show what is known, a line each, in words where there are some; without the same secrets."""
    shown = without_buyers_links(without_client_secrets(dict(details)))
    lines = [(_named(name), redact(_in_words(name, value, shown))) for name, value in shown.items()]
    if not lines:
        return "-"
    return format_html('<dl class="facts">{}</dl>', format_html_join("", "<dt>{}</dt><dd>{}</dd>", lines))


def _named(name: str) -> str:
    return name.removesuffix("_cents").replace("_", " ").capitalize()


def _in_words(name: str, value: Any, around: Mapping[str, Any]) -> str:
    """Write one value: an amount in its currency, yes or no, lists and objects as their parts."""
    currency = around.get("currency")
    if name.endswith("_cents") and type(value) is int and isinstance(currency, str) and currency:
        return money_text(value, currency)
    if value is None or value in ("", [], {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{_named(key).lower()} {_in_words(key, part, value)}" for key, part in value.items())
    if isinstance(value, list):
        return ", ".join(_in_words(name, part, around) for part in value)
    return str(value)


def counted(count: int, noun: str) -> str:
    """Write a count with its noun: 1 event, 2 events."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def link(address: str) -> SafeString | str:
    """Link to an address of Stripe's; anything that is no web address is shown as text."""
    if not address.startswith(("https://", "http://")):
        return address or "-"
    return format_html('<a href="{}" rel="noreferrer noopener" target="_blank">{}</a>', address, address)
