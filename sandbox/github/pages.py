"""The stand-in's pages: organisations, their people, and the invitation page on which somebody accepts or declines.

Invariant: they show no token (but once, when an organisation is made), work without JavaScript and obey no other site.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from .. import clock
from ..console.guard import add_guard
from ..control import ControlRefused
from ..errors import StripeError
from ..store import Store, Tx
from . import people, state, switches
from .state import Account, Organization

WEB = "/_github/_web"
WEEK_SECONDS = 7 * 24 * 3600
DONE = {
    "accepted": "The invitation was accepted.",
    "declined": "The invitation was declined.",
    "renamed": "The user has another name now.",
    "made": "The user was made.",
    "removed": "The member was removed.",
    "week": "A week has passed for this organisation.",
}


def add_routes(routes: Blueprint, store: Store) -> None:
    """Add the pages."""
    add_guard(routes, lambda path: path.rstrip("/") == "/_github" or path.startswith(WEB))
    _add_accounts(routes, store)
    _add_organization(routes, store)
    _add_invitation(routes, store)


def _add_accounts(routes: Blueprint, store: Store) -> None:
    @routes.get("/_github", strict_slashes=False)
    def show_organizations() -> ResponseReturnValue:
        return _accounts_page(store)

    @routes.post(f"{WEB}/organizations")
    def make_organization_here() -> ResponseReturnValue:
        try:
            with store.transaction() as tx:
                team = request.form.get("team", "").strip() or "customers"
                made = switches.create_organization(tx, request.form.get("login", "").strip(), [team])
        except ControlRefused as refusal:
            return _accounts_page(store, error=_sentence(refusal)), 400
        return _accounts_page(store, made=made, base=f"{request.host_url}_github"), 201

    @routes.post(f"{WEB}/users")
    def make_user_here() -> ResponseReturnValue:
        try:
            with store.transaction() as tx:
                state.create_account(tx, switches.free_login(tx, request.form.get("login", "").strip()))
        except ControlRefused as refusal:
            return _accounts_page(store, error=_sentence(refusal)), 400
        return redirect(url_for("github.show_organizations", done="made"), 303)

    @routes.post(f"{WEB}/users/<int:number>/rename")
    def rename_user_here(number: int) -> ResponseReturnValue:
        try:
            with store.transaction() as tx:
                account = _person(tx, number)
                state.rename(tx, account, switches.free_login(tx, request.form.get("login", "").strip()))
        except ControlRefused as refusal:
            return _accounts_page(store, error=_sentence(refusal)), 400
        return redirect(url_for("github.show_organizations", done="renamed"), 303)

    @routes.get(f"{WEB}/avatars/<int:number>")
    def show_avatar(number: int) -> ResponseReturnValue:
        color = f"hsl({number * 47 % 360} 45% 55%)"
        mark = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><rect width="8" height="8" fill="{color}"/></svg>'
        return Response(mark, content_type="image/svg+xml")


def _add_organization(routes: Blueprint, store: Store) -> None:
    @routes.get(f"{WEB}/orgs/<login>")
    def show_organization_page(login: str) -> ResponseReturnValue:
        with store.read() as tx:
            whole = people.overview(tx, _organization(tx, login))
        return render_template("github/organization.html", org=whole, **_common())

    @routes.post(f"{WEB}/orgs/<login>/week")
    def let_a_week_pass(login: str) -> ResponseReturnValue:
        with store.transaction() as tx:
            people.advance(tx, _organization(tx, login), WEEK_SECONDS)
        return redirect(url_for("github.show_organization_page", login=login, done="week"), 303)

    @routes.post(f"{WEB}/orgs/<login>/remove")
    def remove_member_here(login: str) -> ResponseReturnValue:
        with store.transaction() as tx:
            organization, account = _organization(tx, login), _named(tx, request.form.get("login", ""))
            if state.role_of(tx, organization, account) == "admin":
                raise StripeError("An owner stays.", http_status=409)
            state.set_role(tx, organization, account, None)
        return redirect(url_for("github.show_organization_page", login=login, done="removed"), 303)


def _add_invitation(routes: Blueprint, store: Store) -> None:
    @routes.get(f"{WEB}/orgs/<login>/invitation")
    def show_invitation(login: str) -> ResponseReturnValue:
        return _invitation_page(store, login)

    @routes.post(f"{WEB}/orgs/<login>/invitation")
    def answer_invitation(login: str) -> ResponseReturnValue:
        accept = request.form.get("answer") == "accept"
        with store.transaction() as tx:
            organization, account = _organization(tx, login), _named(tx, request.form.get("login", ""))
            refusal = people.answer(tx, organization, account, accept=accept)
        if refusal:
            return _invitation_page(store, login, error=refusal), 409
        done = "accepted" if accept else "declined"
        return redirect(url_for("github.show_organization_page", login=login, done=done), 303)

    @routes.get(f"{WEB}/<login>/<repository>")
    def show_repository(login: str, repository: str) -> ResponseReturnValue:
        with store.read() as tx:
            whole = people.overview(tx, _organization(tx, login))
        return render_template("github/repository.html", org=whole, repository=repository, **_common())


def _common() -> dict[str, Any]:
    return {"now": clock.now(), "tab": "", "done": DONE.get(request.args.get("done", ""))}


def _sentence(refusal: ControlRefused) -> str:
    return f"{refusal.message[:1].upper()}{refusal.message[1:]}."


def _accounts_page(store: Store, **more: Any) -> str:
    with store.read() as tx:
        organizations = [people.overview(tx, one) for one in _organizations(tx)]
        users = state.list_accounts(tx, "User")
    return render_template("github/accounts.html", organizations=organizations, users=users, **_common(), **more)


def _invitation_page(store: Store, login: str, **more: Any) -> str:
    with store.read() as tx:
        whole = people.overview(tx, _organization(tx, login))
    return render_template("github/invitation.html", org=whole, **_common(), **more)


def _organizations(tx: Tx) -> list[Organization]:
    return [one for one in state.list_accounts(tx, "Organization") if isinstance(one, Organization)]


def _organization(tx: Tx, login: str) -> Organization:
    found = state.organization_by_login(tx, login)
    if found is None:
        raise StripeError("There is no such organisation.", http_status=404)
    return found


def _person(tx: Tx, number: int) -> Account:
    found = state.account_by_id(tx, number)
    if found is None or isinstance(found, Organization):
        raise StripeError("There is no such user.", http_status=404)
    return found


def _named(tx: Tx, login: str) -> Account:
    found = state.account_by_login(tx, login)
    if found is None or isinstance(found, Organization):
        raise StripeError("There is no such user.", http_status=404)
    return found
