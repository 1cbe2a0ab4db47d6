"""Where on the control page one is: an account in a mode, read from the address."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import render_template, request, url_for

from .. import accounts, clock
from ..errors import StripeError
from ..store import Context, Store, Tx

MODES = ("test", "live")


@dataclass(frozen=True)
class Place:
    """An account in one mode, for addresses and titles."""

    ctx: Context
    name: str

    @property
    def account(self) -> str:
        """The account's id."""
        return self.ctx.account_id

    @property
    def mode(self) -> str:
        """Test or live."""
        return "live" if self.ctx.livemode else "test"

    def url(self, endpoint: str, **values: Any) -> str:
        """Write the address of a page of this place."""
        return url_for(f"console.{endpoint}", account=self.account, mode=self.mode, **values)

    def page(self, template: str, tab: str, **values: Any) -> str:
        """Render a page of this place."""
        return render_template(f"console/{template}.html", place=self, tab=tab, **values)


def place_of(tx: Tx, account: str, mode: str) -> Place:
    """Find the place that an address names. Raises: StripeError 404."""
    row = tx.execute("SELECT 1 FROM accounts WHERE id = ?", (account,)).fetchone()
    if row is None or mode not in MODES:
        raise StripeError(f"There is no account {account} with a mode {mode}.", http_status=404)
    ctx = Context(account, mode == "live", clock.now(), key_kind="sandbox")
    return Place(ctx, accounts.account_name(tx, account))


def open_place(store: Store, account: str, mode: str) -> Place:
    """Find a place in a read of its own. Raises: StripeError 404."""
    with store.read() as tx:
        return place_of(tx, account, mode)


def typed() -> dict[str, str]:
    """Give the fields of a submitted form, without blanks around them."""
    return {name: value.strip() for name, value in request.form.items()}
