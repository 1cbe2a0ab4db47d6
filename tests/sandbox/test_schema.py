"""The checks against Stripe's published shapes: what is an error, what a warning, and that a library agrees."""

from __future__ import annotations

import copy
import json
import random
from functools import cache
from typing import Any

import jsonschema
import pytest

import sandbox
from sandbox import schema

DEPTH_MAX = 12


def sample(declared: dict[str, Any], depth: int = 0) -> Any:
    """Make the smallest value that a schema allows."""
    declared = schema.resolve(declared)
    if "anyOf" in declared:
        branches = [schema.resolve(branch) for branch in declared["anyOf"]]
        order = ("null", "string", "number", "boolean", "array", "object")
        return sample(min(branches, key=lambda one: order.index(one.get("type", "object"))), depth + 1)
    if "enum" in declared:
        return declared["enum"][0]
    if "x-open-enum" in declared:
        return declared["x-open-enum"][0]
    kind = declared.get("type")
    if kind == "object":
        assert depth < DEPTH_MAX, "required fields go in circles"
        return {name: sample(declared["properties"][name], depth + 1) for name in declared["required"]}
    return {"null": None, "string": "x", "number": 1, "boolean": False, "array": []}.get(kind or "null")


def sample_object(name: str) -> Any:
    value = sample(schema.spec()["by_object"][name][0])
    if name.startswith("deleted:"):
        value["deleted"] = True
    return value


def sample_event(event_type: str) -> Any:
    return sample(schema.spec()["events"][event_type])


@cache
def library_definitions() -> dict[str, Any]:
    """The spec for the library, with unknown fields allowed: ours are warnings, the library's would be errors."""
    definitions: dict[str, Any] = copy.deepcopy(schema.spec()["definitions"])
    for definition in definitions.values():
        if definition.get("additionalProperties") is False:
            definition["additionalProperties"] = True
    return definitions


def library_finds_error(ref: dict[str, Any], value: Any) -> bool:
    checker = jsonschema.Draft7Validator({**ref, "definitions": library_definitions()})
    return not checker.is_valid(value)


def test_the_spec_is_of_the_pinned_version() -> None:
    assert schema.spec()["api_version"] == sandbox.API_VERSION


@pytest.mark.parametrize(
    "name", ["customer", "subscription", "invoice", "checkout.session", "charge", "deleted:customer"]
)
def test_a_value_made_from_the_schema_has_no_problem(name: str) -> None:
    assert schema.validate_object(sample_object(name)) == []


def test_every_published_event_accepts_its_own_sample() -> None:
    for event_type in schema.spec()["events"]:
        if not event_type.startswith("v"):
            assert schema.errors_of(schema.validate_event(sample_event(event_type))) == [], event_type


def test_a_missing_field_is_an_error() -> None:
    value = sample_object("subscription")
    del value["status"]
    assert schema.validate_object(value) == [schema.Problem("subscription.status", "missing")]


@pytest.mark.parametrize(
    ("field", "wrong"), [("created", "1"), ("status", None), ("livemode", 0), ("items", []), ("id", 7)]
)
def test_a_wrong_type_or_null_is_an_error(field: str, wrong: Any) -> None:
    value = {**sample_object("subscription"), field: wrong}
    assert [problem.path for problem in schema.errors_of(schema.validate_object(value))] == [f"subscription.{field}"]


def test_unknown_fields_and_new_enum_values_are_warnings() -> None:
    value = {**sample_object("subscription"), "plan": None, "status": "hibernating"}
    problems = schema.validate_object(value)
    assert schema.errors_of(problems) == []
    assert {problem.path for problem in schema.warnings_of(problems)} == {"subscription.plan", "subscription.status"}


def test_period_fields_at_the_top_of_a_subscription_are_errors_wherever_it_stands() -> None:
    value = {**sample_object("subscription"), "current_period_end": 1}
    assert len(schema.errors_of(schema.validate_object(value))) == 1
    invoice = sample_object("invoice")
    event = sample_event("customer.subscription.updated")
    event["data"]["object"] = value
    assert len(schema.errors_of(schema.validate_event(event))) == 1
    assert schema.validate_object(invoice) == []


def test_an_event_must_carry_the_object_that_belongs_to_its_type() -> None:
    event = sample_event("customer.created")
    event["data"]["object"] = sample_object("invoice")
    assert schema.errors_of(schema.validate_event(event))
    assert schema.errors_of(schema.validate_event({**event, "type": "customer.exploded"}))


def test_previous_attributes_hold_only_what_changed_and_null_for_what_was_not_there() -> None:
    event = sample_event("customer.subscription.updated")
    event["data"]["object"] = sample_object("subscription")
    event["data"]["previous_attributes"] = {"metadata": {"new": None}, "cancellation_details": {"reason": None}}
    assert schema.validate_event(event) == []
    event["data"]["previous_attributes"] = {"status": 7}
    assert len(schema.errors_of(schema.validate_event(event))) == 1
    page = {"object": "list", "url": "/v1/events", "has_more": False, "data": [event]}
    assert len(schema.errors_of(schema.validate_answer("GET", "/v1/events", page))) == 1


def test_a_float_where_stripe_sends_integers_is_an_error() -> None:
    value = {**sample_object("invoice"), "amount_due": 10.0}
    assert [problem.path for problem in schema.errors_of(schema.validate_object(value))] == ["invoice.amount_due"]
    coupon = {**sample_object("coupon"), "percent_off": 12.5}
    assert schema.validate_object(coupon) == []


def test_an_expanded_reference_is_checked_as_the_object_that_it_is() -> None:
    value = {**sample_object("subscription"), "customer": sample_object("customer")}
    assert schema.validate_object(value) == []
    del value["customer"]["email"]
    assert [problem.path for problem in schema.validate_object(value)] == ["subscription.customer.email"]


def test_pages_and_answers_are_checked_against_their_operation() -> None:
    page = {"object": "list", "url": "/v1/customers", "has_more": False, "data": [sample_object("customer")]}
    assert schema.validate_answer("GET", "/v1/customers", page) == []
    assert schema.validate_object(page) == []
    page["data"] = [sample_object("invoice")]
    assert schema.errors_of(schema.validate_answer("GET", "/v1/customers", page))
    assert schema.errors_of(schema.validate_answer("GET", "/v1/nonsense", page))


def test_error_bodies_have_one_of_four_types_and_no_nulls() -> None:
    assert schema.validate_error({"error": {"type": "card_error", "message": "No."}}) == []
    assert schema.validate_error({"error": {"type": "rate_limit_error", "message": "No."}})
    assert schema.validate_error({"error": {"type": "card_error", "message": "No.", "code": None}})
    assert schema.validate_error({"detail": "No."})


def test_a_general_validator_gives_the_same_verdict_on_damaged_objects() -> None:
    chance = random.Random(2026)
    names = ["customer", "subscription", "invoice", "checkout.session", "charge", "payment_intent", "price", "refund"]
    disagreements = []
    for name in names:
        ref = schema.spec()["by_object"][name][0]
        for _ in range(25):
            value = sample_object(name)
            field = chance.choice([key for key in value if key != "object"])
            damage: Any = chance.choice(["drop", None, 7, "x", [], {}, True])
            if damage == "drop":
                del value[field]
            else:
                value[field] = damage
            ours = bool(schema.errors_of(schema.validate_object(value)))
            if ours != library_finds_error(ref, value):
                disagreements.append((name, field, damage, json.dumps(value.get(field))))
    assert disagreements == []
