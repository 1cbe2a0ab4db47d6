"""The stand-in's switches under /_sandbox/api/github: JSON, no key, for tests and demos on loopback."""

from __future__ import annotations

import re
from typing import Any

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from .. import clock
from ..control import ControlRefused
from ..faults import Faults, RequestLog
from ..store import Store, Tx
from . import people, state
from .state import DEFAULTS, Account, Organization

BASE = "/_sandbox/api/github"
ORGANIZATION = f"{BASE}/organizations/<login>"
LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,38}")
SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")


def found(tx: Tx, login: str) -> Organization:
    """Find an organisation. Raises: ControlRefused 404."""
    organization = state.organization_by_login(tx, login)
    if organization is None:
        raise ControlRefused(f"no organization {login}", 404)
    return organization


def found_person(tx: Tx, login: str) -> Account:
    """Find somebody. Raises: ControlRefused 404."""
    account = state.account_by_login(tx, login)
    if account is None or isinstance(account, Organization):
        raise ControlRefused(f"no user {login}", 404)
    return account


def free_login(tx: Tx, login: Any) -> str:
    """Check a name for an account. Raises: ControlRefused."""
    if not isinstance(login, str) or not LOGIN.fullmatch(login):
        raise ControlRefused("login must be 1 to 39 letters, digits, hyphens and underscores")
    if state.account_by_login(tx, login):
        raise ControlRefused(f"{login} is taken", 409)
    return login


def create_organization(tx: Tx, login: str, teams: list[str]) -> dict[str, Any]:
    """Make an organisation with an owner, teams and a token of the owner's; the token is given this once."""
    organization = state.create_account(tx, free_login(tx, login), "Organization")
    owner_login = f"{login[:33]}-owner"
    owner = state.account_by_login(tx, owner_login) or state.create_account(tx, owner_login)
    state.set_role(tx, organization, owner, "admin")
    for slug in teams:
        if not SLUG.fullmatch(slug):
            raise ControlRefused("a team's slug is of lower-case letters, digits and hyphens")
        state.create_team(tx, organization, slug)
    return {
        "organization": organization.login,
        "id": organization.id,
        "teams": teams,
        "owner": owner.login,
        "token": state.create_token(tx, organization, owner),
    }


def _body() -> dict[str, Any]:
    body = request.get_json(silent=True) if request.data else {}
    if not isinstance(body, dict):
        raise ControlRefused("the body must be a JSON object")
    return body


def add_routes(routes: Blueprint, store: Store, rules: Faults, log: RequestLog) -> None:
    """Add the switches."""
    _add_users(routes, store)
    _add_organizations(routes, store)
    _add_teams_and_tokens(routes, store)
    _add_members(routes, store)
    _add_faults(routes, store, rules, log)


def _add_users(routes: Blueprint, store: Store) -> None:
    @routes.post(f"{BASE}/users")
    def create_user() -> ResponseReturnValue:
        body = _body()
        kind = body.get("type", "User")
        if kind not in ("User", "Bot"):
            raise ControlRefused("type must be User or Bot")
        with store.transaction() as tx:
            made = state.create_account(tx, free_login(tx, body.get("login")), kind)
        return jsonify(id=made.id, login=made.login, type=made.type), 201

    @routes.post(f"{BASE}/users/<login>/rename")
    def rename_user(login: str) -> ResponseReturnValue:
        with store.transaction() as tx:
            account = found_person(tx, login)
            state.rename(tx, account, free_login(tx, _body().get("login")))
        return jsonify(id=account.id, login=_body()["login"])

    @routes.post(f"{BASE}/users/<login>/settings")
    def change_user(login: str) -> ResponseReturnValue:
        body = _body()
        if set(body) != {"two_factor"} or not isinstance(body["two_factor"], bool):
            raise ControlRefused("two_factor must be true or false")
        with store.transaction() as tx:
            state.change_settings(tx, found_person(tx, login), body)
        return jsonify(body)

    @routes.delete(f"{BASE}/users/<login>")
    def delete_user(login: str) -> ResponseReturnValue:
        with store.transaction() as tx:
            state.delete_account(tx, found_person(tx, login))
        return jsonify(deleted=True)


def _add_organizations(routes: Blueprint, store: Store) -> None:
    @routes.post(f"{BASE}/organizations")
    def make_organization() -> ResponseReturnValue:
        body = _body()
        teams = body.get("teams", ["customers"])
        if not isinstance(teams, list) or not all(isinstance(slug, str) for slug in teams):
            raise ControlRefused("teams must be a list of slugs")
        with store.transaction() as tx:
            made = create_organization(tx, body.get("login", ""), teams)
        return jsonify(**made, api_base=f"{store.public_url}/_github"), 201

    @routes.get(ORGANIZATION)
    def show_organization(login: str) -> ResponseReturnValue:
        with store.read() as tx:
            return jsonify(people.overview(tx, found(tx, login)))

    @routes.post(f"{ORGANIZATION}/settings")
    def change_settings(login: str) -> ResponseReturnValue:
        body = _body()
        unknown = set(body) - set(DEFAULTS)
        if unknown:
            raise ControlRefused(f"unknown field {sorted(unknown)[0]}")
        with store.transaction() as tx:
            state.change_settings(tx, found(tx, login), body)
            return jsonify(found(tx, login).settings)

    @routes.post(f"{ORGANIZATION}/advance")
    def advance(login: str) -> ResponseReturnValue:
        seconds = _body().get("seconds")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0:
            raise ControlRefused("seconds must be a number above 0")
        with store.transaction() as tx:
            people.advance(tx, found(tx, login), seconds)
            return jsonify(now=found(tx, login).now)


def _add_teams_and_tokens(routes: Blueprint, store: Store) -> None:
    @routes.post(f"{ORGANIZATION}/teams")
    def make_team(login: str) -> ResponseReturnValue:
        body = _body()
        if not isinstance(body.get("slug"), str) or not SLUG.fullmatch(body["slug"]):
            raise ControlRefused("a team's slug is of lower-case letters, digits and hyphens")
        with store.transaction() as tx:
            state.create_team(tx, found(tx, login), body["slug"], synced=bool(body.get("synced")))
        return jsonify(slug=body["slug"]), 201

    @routes.post(f"{ORGANIZATION}/tokens")
    def make_token(login: str) -> ResponseReturnValue:
        body = _body()
        if "expires_in" in body:
            body["expires"] = clock.now() + float(body.pop("expires_in"))
        with store.transaction() as tx:
            organization = found(tx, login)
            who = body.pop("user", None)
            owners = [account for account, role in state.list_members(tx, organization) if role == "admin"]
            account = found_person(tx, who) if who else owners[0]
            return jsonify(token=state.create_token(tx, organization, account, **body)), 201

    @routes.delete(f"{ORGANIZATION}/tokens")
    def revoke_tokens(login: str) -> ResponseReturnValue:
        with store.transaction() as tx:
            state.revoke_tokens(tx, found(tx, login))
        return jsonify(revoked=True)


def _add_members(routes: Blueprint, store: Store) -> None:
    @routes.post(f"{ORGANIZATION}/members")
    def set_member(login: str) -> ResponseReturnValue:
        body = _body()
        if body.get("role") not in ("admin", "member", None):
            raise ControlRefused("role must be admin, member or null")
        with store.transaction() as tx:
            organization, account = found(tx, login), found_person(tx, str(body.get("login")))
            state.set_role(tx, organization, account, body["role"])
            for team in state.list_teams(tx, organization):
                if team.slug in body.get("teams", []):
                    state.set_team_role(tx, team, account, "member")
        return jsonify(login=account.login, role=body["role"])

    @routes.post(f"{ORGANIZATION}/answer")
    def answer(login: str) -> ResponseReturnValue:
        body = _body()
        if not isinstance(body.get("accept"), bool):
            raise ControlRefused("accept must be true or false")
        with store.transaction() as tx:
            organization, account = found(tx, login), found_person(tx, str(body.get("login")))
            refusal = people.answer(tx, organization, account, accept=body["accept"])
            if refusal:
                raise ControlRefused(refusal, 409)
        return jsonify(accepted=body["accept"])


def _add_faults(routes: Blueprint, store: Store, rules: Faults, log: RequestLog) -> None:
    @routes.post(f"{ORGANIZATION}/faults")
    def add_fault(login: str) -> ResponseReturnValue:
        with store.read() as tx:
            organization = found(tx, login)
        return jsonify(rules.add({**_body(), "account_id": organization.login.lower()})), 201

    @routes.delete(f"{ORGANIZATION}/faults")
    def clear_faults(login: str) -> ResponseReturnValue:
        rules.clear(login.lower())
        return jsonify(cleared=True)

    @routes.get(f"{ORGANIZATION}/requests")
    def list_requests(login: str) -> ResponseReturnValue:
        return jsonify(data=log.list(login.lower()))
