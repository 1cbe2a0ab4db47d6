"""Reads every page of the admin that there is something on, as somebody who may see all."""

import re
from collections.abc import Iterable

import httpx

CHANGES_PER_LIST = 2
PAGES_MAX = 600
_CSRF = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
# What names a row in an address: an id of ours or another package's number, or Stripe's id.
_KEY = re.compile(r"/(?:[0-9a-f-]{32,36}|\d+|[a-z]+_[A-Za-z0-9_]{8,})/")
_LINK = re.compile(r'href="(/admin/[^"#?]*)["#?]')


def sign_in(service_url: str, email: str, password: str) -> httpx.Client:
    """Sign in at the admin as a browser does."""
    browser = httpx.Client(base_url=service_url, timeout=30, follow_redirects=True)
    page = browser.get("/admin/", headers={"Accept": "text/html"})
    token = _CSRF.search(page.text)
    assert token, page.text[:500]
    form = {"csrfmiddlewaretoken": token[1], "next": "/admin/"}
    for name in ("username", "email", "login"):
        if f'name="{name}"' in page.text:
            form[name] = email
    answer = browser.post(str(page.url), data=form | {"password": password}, headers={"Referer": str(page.url)})
    assert answer.status_code == 200 and "/admin/logout/" in answer.text, answer.text[:1000]
    return browser


def crawl(browser: httpx.Client, lists: Iterable[str]) -> dict[str, bytes]:
    """Return the pages by path: the given lists, what they lead to, and what that leads to.

    Of the pages about single things, as histories, one of each kind is read; of rows, some of each list.
    """
    pages: dict[str, bytes] = {}
    kinds: set[str] = set()
    waiting = ["/admin/", *lists]
    while waiting and len(pages) < PAGES_MAX:
        path = waiting.pop(0)
        kind = path if path.endswith("/change/") else _KEY.sub("/*/", path)
        if path in pages or kind in kinds:
            continue
        kinds.add(kind)
        answer = browser.get(path)
        assert answer.status_code < 500, f"{path}: {answer.status_code}"
        pages[path] = answer.content
        found = [link for link in dict.fromkeys(_LINK.findall(answer.text)) if "/logout/" not in link]
        changes = [link for link in found if link.endswith("/change/")]
        others = [link for link in found if not link.endswith("/change/")]
        waiting += changes[:CHANGES_PER_LIST] + others
    return pages
