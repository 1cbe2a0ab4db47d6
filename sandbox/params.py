"""Request parameters: Stripe's bracket syntax decoded, coerced and strictly checked.

Invariant: what a resource receives has only names and types that the published spec allows for
that operation. `""` stays `""` where Stripe reads it as "unset this".
Source: https://docs.stripe.com/api/errors (codes parameter_*).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

from werkzeug.datastructures import MultiDict

from . import schema
from .errors import StripeError

Params = dict[str, Any]

BODY_BYTES_MAX = 1_000_000
PAIRS_MAX = 2_000
DEPTH_MAX = 12
STRING_CHARACTERS_MAX = 5_000
METADATA_KEYS_MAX = 50
METADATA_KEY_CHARACTERS_MAX = 40
METADATA_VALUE_CHARACTERS_MAX = 500
INTEGER_DIGITS_MAX = 18
PAGE_LIMIT_MAX = 100

KEY = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
INTEGER = re.compile(r"[+-]?\d+")
DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)")
BOOLEANS = {"true": True, "false": False}

# `[]` as an index: each use opens the next element, as PHP and Rack clients mean it.
APPEND = ""

# Accepted by every operation, though the declarations name it on most only.
EXPAND_SCHEMA: schema.Schema = {"type": "array", "items": {"type": "string"}}


def parse_request(
    method: str, route: str, query: MultiDict[str, str], form_body: bytes, path_params: dict[str, str]
) -> Params:
    """Decode and check the parameters of one operation.

    `route` is its path template; the names inside the braces do not matter.
    Raises: StripeError (400; 404 for a route that Stripe does not have).
    """
    operation = find_route(method, route)
    if operation is None:
        raise StripeError(f"Unrecognized request URL ({method}: {route}).", http_status=404)
    for value in path_params.values():
        _check_text(value, None)
    pairs = [*query.items(multi=True), *decode_form(form_body)]
    if len(pairs) > PAIRS_MAX:
        raise StripeError(f"Too many parameters: at most {PAIRS_MAX} are accepted.")
    tree = _nest(pairs)
    return _coerce_object(operation.params, tree, "", extra={"expand": EXPAND_SCHEMA})


def routes() -> tuple[schema.Route, ...]:
    """List every operation of the published API."""
    return schema.routes()


def match_route(method: str, path: str) -> tuple[schema.Route, dict[str, str]] | None:
    """Find the operation that a concrete path means, with the values in its braces.

    A literal segment wins over a placeholder: /v1/customers/search is not a customer.
    """
    segments = path.strip("/").split("/")
    node = _route_tree()
    found = _walk_routes(node, segments, [])
    if found is None:
        return None
    by_method, values = found
    operation = by_method.get(method)
    if operation is None:
        return None
    names = re.findall(r"{([^}]+)}", operation.path)
    return operation, dict(zip(names, values, strict=True))


def find_route(method: str, template: str) -> schema.Route | None:
    """Find an operation by its template, whatever the placeholders are called."""
    return _routes_by_shape().get((method, _shape(template)))


def _shape(template: str) -> str:
    return re.sub(r"[{<][^}>]+[}>]", "{}", template)


@cache
def _routes_by_shape() -> dict[tuple[str, str], schema.Route]:
    return {(route.method, _shape(route.path)): route for route in schema.routes()}


@cache
def _route_tree() -> dict[str, Any]:
    root: dict[str, Any] = {}
    for route in schema.routes():
        node = root
        for segment in _shape(route.path).strip("/").split("/"):
            node = node.setdefault(segment, {})
        node.setdefault("", {})[route.method] = route
    return root


def _walk_routes(
    node: dict[str, Any], segments: list[str], values: list[str]
) -> tuple[dict[str, schema.Route], list[str]] | None:
    if not segments:
        return (node[""], values) if "" in node else None
    head, rest = segments[0], segments[1:]
    if head and head in node:
        found = _walk_routes(node[head], rest, values)
        if found is not None:
            return found
    if head and "{}" in node:
        return _walk_routes(node["{}"], rest, [*values, head])
    return None


# Decoding


def decode_form(body: bytes) -> list[tuple[str, str]]:
    """Split a form-encoded body into pairs.

    Raises: StripeError (400) when it is too large or not UTF-8.
    """
    if len(body) > BODY_BYTES_MAX:
        raise StripeError("Request body is too large.", http_status=413)
    pairs = []
    for part in body.split(b"&"):
        if not part:
            continue
        key, _, value = part.partition(b"=")
        pairs.append((_decode(key), _decode(value)))
    return pairs


def _decode(raw: bytes) -> str:
    try:
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        raise StripeError("Invalid request: parameters must be UTF-8 encoded.") from None


def _check_text(value: str, param: str | None) -> None:
    if "\0" in value:
        raise StripeError("Invalid request: parameters must not contain null bytes.", param=param)
    if len(value) > STRING_CHARACTERS_MAX:
        raise StripeError(
            f"Invalid string: {value[:20]}...{value[-10:]}; must be at most {STRING_CHARACTERS_MAX} characters",
            param=param,
        )
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise StripeError("Invalid request: parameters must be UTF-8 encoded.", param=param)


def _nest(pairs: Iterable[tuple[str, str]]) -> Params:
    tree: Params = {}
    for key, value in pairs:
        _check_text(key, None)
        _check_text(value, key)
        match = KEY.fullmatch(key)
        if match is None:
            _unknown(key)
        steps = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
        if len(steps) > DEPTH_MAX:
            raise StripeError(f"Parameters are nested too deeply: {key[:100]}", param=key[:100])
        _place(tree, steps, value, key)
    return tree


def _place(tree: Params, steps: list[str], value: str, key: str) -> None:
    node = tree
    for position, step in enumerate(steps[:-1]):
        if step == APPEND:
            step = _append_index(node, steps[position + 1 :])
        inner = node.setdefault(step, {})
        if not isinstance(inner, dict):
            raise StripeError(f"Invalid parameter: {key} is given both as a value and as an object", param=key)
        node = inner
    last = steps[-1]
    if last == APPEND:
        last = str(len(node))
    if isinstance(node.get(last), dict):
        raise StripeError(f"Invalid parameter: {key} is given both as a value and as an object", param=key)
    node[last] = value


def _append_index(node: Params, rest: list[str]) -> str:
    """Choose the element that `items[][name]` belongs to: the last one until a name repeats."""
    if not node:
        return "0"
    last = str(len(node) - 1)
    inner: Any = node.get(last)
    for step in rest:
        if not isinstance(inner, dict) or step == APPEND or step not in inner:
            return last if isinstance(inner, dict) else str(len(node))
        inner = inner[step]
    return str(len(node))


# Coercion


def _coerce(declared: schema.Schema, value: Any, path: str) -> Any:
    declared = schema.resolve(declared)
    if "anyOf" in declared:
        return _coerce_union(declared["anyOf"], value, path)
    if "enum" in declared:
        return _coerce_enum(declared["enum"], value, path)
    kind = declared.get("type")
    if kind == "object":
        return _coerce_object(declared, value, path)
    if kind == "array":
        return _coerce_array(declared, value, path)
    if isinstance(value, dict):
        raise StripeError("Invalid string: must be a string, not an object or array", param=path)
    if kind == "number":
        return _coerce_number(value, path)
    if kind == "boolean":
        return _coerce_boolean(value, path)
    if "x-open-enum" in declared:
        return _coerce_enum(declared["x-open-enum"], value, path)
    if declared.get("format") == "decimal" and value != "" and not DECIMAL.fullmatch(value):
        raise StripeError(f"Invalid decimal: {value}", param=path)
    return value


def _coerce_object(
    declared: schema.Schema, value: Any, path: str, extra: dict[str, schema.Schema] | None = None
) -> Params:
    declared = schema.resolve(declared)
    if not isinstance(value, dict):
        if value == "":
            _empty(path)
        raise StripeError("Invalid object", param=path)
    properties = {**declared.get("properties", {}), **(extra or {})}
    rest = declared.get("additionalProperties", False)
    result: Params = {}
    for name, inner in value.items():
        inner_path = f"{path}[{name}]" if path else name
        if name in properties:
            result[name] = _coerce(properties[name], inner, inner_path)
        elif isinstance(rest, dict):
            result[name] = _coerce_free(rest, name, inner, inner_path)
        else:
            _unknown(inner_path)
    if isinstance(rest, dict) and not properties and len(result) > METADATA_KEYS_MAX:
        raise StripeError(f"You can have up to {METADATA_KEYS_MAX} keys, but you passed {len(result)}", param=path)
    for name in declared.get("required", ()):
        inner_path = f"{path}[{name}]" if path else name
        if name not in result:
            raise StripeError(f"Missing required param: {inner_path}.", code="parameter_missing", param=inner_path)
        if result[name] == "" and not _takes_empty(properties[name]):
            _empty(inner_path)
    return result


def _coerce_free(declared: schema.Schema, name: str, value: Any, path: str) -> Any:
    """Coerce an entry of a map with names of the caller's choice, mostly metadata."""
    declared = schema.resolve(declared)
    if not _is_metadata_value(declared):
        return _coerce(declared, value, path)
    if isinstance(value, dict):
        raise StripeError("Metadata values must be strings, but you passed in a value of type hash", param=path)
    if len(name) > METADATA_KEY_CHARACTERS_MAX:
        raise StripeError(
            f"Metadata keys can have up to {METADATA_KEY_CHARACTERS_MAX} characters, "
            f"but you passed in a key that is {len(name)} characters. Invalid key: {name[:100]}",
            param=path[:200],
        )
    if len(value) > METADATA_VALUE_CHARACTERS_MAX:
        raise StripeError(
            f"Metadata values can have up to {METADATA_VALUE_CHARACTERS_MAX} characters, "
            f"but you passed in a value that is {len(value)} characters. Invalid value: {value[:100]}",
            param=path,
        )
    return value


def _is_metadata_value(declared: schema.Schema) -> bool:
    branches = declared.get("anyOf", [declared])
    return all(branch.get("type") in ("null", "string", "number") for branch in branches) and any(
        branch.get("type") == "string" for branch in branches
    )


def _coerce_array(declared: schema.Schema, value: Any, path: str) -> list[Any]:
    if value == "":
        _empty(path)
    if not isinstance(value, dict):
        raise StripeError("Invalid array", param=path)
    if not all(index.isascii() and index.isdigit() and len(index) <= INTEGER_DIGITS_MAX for index in value):
        raise StripeError("Invalid array", param=path)
    item = declared.get("items", {})
    return [_coerce(item, value[index], f"{path}[{index}]") for index in sorted(value, key=int)]


def _coerce_number(value: str, path: str) -> int | float:
    if value == "":
        _empty(path)
    field = path.rstrip("]").rsplit("[", 1)[-1]
    if schema.is_fractional(field) and DECIMAL.fullmatch(value) and len(value) <= INTEGER_DIGITS_MAX:
        number = float(value)
        return int(number) if number.is_integer() else number
    if not value.isascii() or not INTEGER.fullmatch(value) or len(value) > INTEGER_DIGITS_MAX:
        raise StripeError(f"Invalid integer: {value[:100]}", code="parameter_invalid_integer", param=path)
    whole = int(value)
    if path == "limit":
        _check_page_limit(whole)
    return whole


def _check_page_limit(limit: int) -> None:
    if limit < 1:
        message = "This value must be greater than or equal to 1."
    elif limit > PAGE_LIMIT_MAX:
        message = f"This value must be less than or equal to {PAGE_LIMIT_MAX} (it currently is '{limit}')."
    else:
        return
    raise StripeError(message, code="parameter_invalid_integer", param="limit")


def _coerce_boolean(value: str, path: str) -> bool:
    if value == "":
        _empty(path)
    if value not in BOOLEANS:
        raise StripeError(f"Invalid boolean: {value[:100]}", param=path)
    return BOOLEANS[value]


def _coerce_enum(allowed: list[Any], value: Any, path: str) -> Any:
    if isinstance(value, dict):
        raise StripeError("Invalid string: must be a string, not an object or array", param=path)
    for option in allowed:
        if value == option or (isinstance(option, bool) and BOOLEANS.get(value) is option):
            return option
        if isinstance(option, (int, float)) and not isinstance(option, bool) and value == str(option):
            return option
    if value == "":
        _empty(path)
    raise StripeError(f"Invalid {path}: must be {_one_of([str(option) for option in allowed])}", param=path)


def _one_of(options: list[str]) -> str:
    options = [option for option in options if option]
    if len(options) == 1:
        return options[0]
    if len(options) == 2:
        return f"one of {options[0]} or {options[1]}"
    return f"one of {', '.join(options[:-1])}, or {options[-1]}"


def _coerce_union(branches: list[schema.Schema], value: Any, path: str) -> Any:
    resolved = [schema.resolve(branch) for branch in branches]
    if isinstance(value, dict):
        wanted = "array" if value and all(index.isdigit() for index in value) else "object"
        structured = [branch for branch in resolved if branch.get("type") in ("object", "array")]
        structured.sort(key=lambda branch: branch["type"] != wanted)
        if structured:
            return _coerce(structured[0], value, path)
        raise StripeError("Invalid string: must be a string, not an object or array", param=path)
    if value == "" and any(_takes_empty(branch) for branch in resolved):
        return ""
    literal = [branch for branch in resolved if "enum" in branch and value in branch["enum"]]
    if literal:
        return value
    return _coerce_scalar_union([branch for branch in resolved if branch.get("type") != "null"], value, path)


def _coerce_scalar_union(branches: list[schema.Schema], value: str, path: str) -> Any:
    """Take the first branch that accepts the text; plain strings accept everything, so they come last."""
    branches = [branch for branch in branches if branch.get("enum") != [""]]
    branches.sort(key=lambda branch: branch.get("type") == "string" and "x-open-enum" not in branch)
    failure: StripeError | None = None
    for branch in branches:
        try:
            return _coerce(branch, value, path)
        except StripeError as error:
            failure = failure or error
    raise failure or StripeError(f"Invalid value: {value[:100]}", param=path)


def _takes_empty(declared: schema.Schema) -> bool:
    declared = schema.resolve(declared)
    if declared.get("type") == "null" or "" in declared.get("enum", ()) or "" in declared.get("x-open-enum", ()):
        return True
    return any(_takes_empty(branch) for branch in declared.get("anyOf", ()))


def _unknown(path: str) -> NoReturn:
    raise StripeError(f"Received unknown parameter: {path[:200]}", code="parameter_unknown", param=path[:200])


def _empty(path: str) -> NoReturn:
    raise StripeError(
        f"You passed an empty string for '{path}'. We assume empty values are an attempt to unset a parameter; "
        f"however '{path}' cannot be unset. You should remove '{path}' from your request or supply a non-empty value.",
        code="parameter_invalid_empty",
        param=path,
    )
