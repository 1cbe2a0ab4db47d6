"""A person at the admin who follows links and presses buttons that are on the page, and whose clicks are counted."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

from django.test import Client


@dataclass
class Form:
    """A form as it stands on the page: what would be sent, and its buttons by their text."""

    action: str
    method: str
    fields: dict[str, list[str]] = field(default_factory=dict)
    buttons: list[tuple[str, str, str]] = field(default_factory=list)


class _Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[tuple[str, str]] = []
        self.forms: list[Form] = []
        self._form: Form | None = None
        self._text: list[str] = []
        self._href = ""
        self._button: dict[str, str] | None = None
        self._select, self._area = "", ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note links, forms and what is in them."""
        found = {name: value or "" for name, value in attrs}
        if tag == "a":
            self._href, self._text = found.get("href", ""), []
        elif tag == "form":
            self._form = Form(found.get("action", ""), found.get("method", "get").lower())
            self.forms.append(self._form)
        elif tag == "button":
            self._button, self._text = found, []
        elif self._form is not None and tag == "select":
            self._select = found.get("name", "")
            self._form.fields.setdefault(self._select, [])
        elif self._form is not None and tag == "option" and "selected" in found:
            self._form.fields[self._select] = [found.get("value", "")]
        elif self._form is not None and tag == "textarea":
            self._form.fields[found.get("name", "")] = [""]
        elif self._form is not None and tag == "input" and found.get("name"):
            self._input(found)

    def _input(self, found: dict[str, str]) -> None:
        assert self._form is not None
        kind = found.get("type", "text")
        if kind == "submit":
            self._form.buttons.append((found.get("value", ""), found["name"], found.get("value", "")))
        elif kind not in ("checkbox", "radio") or "checked" in found:
            self._form.fields.setdefault(found["name"], []).append(
                found.get("value", "on" if kind == "checkbox" else "")
            )

    def handle_endtag(self, tag: str) -> None:
        """Close what was open."""
        if tag == "a" and self._href:
            self.links.append((" ".join("".join(self._text).split()), self._href))
            self._href = ""
        elif tag == "button" and self._button is not None:
            if self._form is not None:
                words = " ".join("".join(self._text).split())
                self._form.buttons.append((words, self._button.get("name", ""), self._button.get("value", "")))
            self._button = None
        elif tag == "form":
            self._form = None

    def handle_data(self, data: str) -> None:
        """Collect the text of links and buttons."""
        self._text.append(data)


def forms_of(html: str) -> list[Form]:
    """Return the forms of a page."""
    return _Page(html).forms


@dataclass
class Person:
    """Whoever sits there. Typing is free; following a link or pressing a button is a click."""

    client: Client
    address: str = "/admin/"
    html: str = ""
    clicks: int = 0

    def open(self, address: str) -> "Person":
        """Come to a page without a click: where a task begins."""
        self._load(self.client.get(address, follow=True), address)
        return self

    def follow(self, text: str, *, to: str = "") -> "Person":
        """Click a link with this text (and, when several have it, that leads there)."""
        links = [href for words, href in _Page(self.html).links if words == text and to in href]
        assert links, f"no link “{text}” on {self.address}: {[words for words, _ in _Page(self.html).links]}"
        self.clicks += 1
        target = urljoin(self.address, links[0])
        self._load(self.client.get(target.partition("#")[0], follow=True), target)
        return self

    def press(self, button: str, **typed: Any) -> "Person":
        """Press a button after typing into its form."""
        for form in _Page(self.html).forms:
            pressed = next((one for one in form.buttons if one[0] == button), None)
            if pressed is not None and set(typed) <= set(form.fields) | {"at_once", "access", "cancel_subscription"}:
                return self._send(form, pressed, typed)
        raise AssertionError(f"no button “{button}” on {self.address}")

    def _send(self, form: Form, pressed: tuple[str, str, str], typed: dict[str, Any]) -> "Person":
        self.clicks += 1
        data = form.fields | {name: [str(value)] for name, value in typed.items()}
        if pressed[1]:
            data[pressed[1]] = [pressed[2]]
        target = urljoin(self.address, form.action or self.address)
        if form.method == "post":
            self._load(self.client.post(target, data, follow=True), target)
        else:
            self._load(self.client.get(urlsplit(target).path, data, follow=True), target)
        return self

    def _load(self, answer: Any, address: str) -> None:
        self.html = answer.content.decode()
        self.address = answer.redirect_chain[-1][0] if answer.redirect_chain else address
        assert answer.status_code == 200, (answer.status_code, self.address, self.html[:500])
