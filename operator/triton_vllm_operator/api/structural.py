"""A value held against a structural schema, as strictly as the API server does, in words for people. Pure.

What the API server does is told by apiextensions-apiserver/pkg/apiserver/schema in Kubernetes' source, and
tests/e2e/test_strict_reading.py holds the two together. Rules in CEL are not looked at here: the types keep them in
Python (`base.Form`, `base.Rule`).
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from triton_vllm_operator.api.base import INT_OR_STRING, LIST_MAP_KEYS, LIST_TYPE, PRESERVE_UNKNOWN, Json

_SHOWN: Final = 80
_WORDS: Final = {
    "object": "an object",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, and where."""

    path: tuple[str, ...]
    message: str
    is_unknown: bool = False
    """Whether the schema has no such field."""


def normalize(value: object, schema: Json) -> object:
    """The value as the API server reads it: nulls of optional fields are dropped, 8.0 is a whole number.

    https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#defaulting-and-nullable
    """
    properties, items, values = parts_of(schema)
    if isinstance(value, dict):
        if properties:
            kept = {name: inner for name, inner in value.items() if inner is not None or name not in properties}
            return {name: normalize(inner, properties.get(name, {})) for name, inner in kept.items()}
        return (
            {name: normalize(inner, values) for name, inner in value.items() if inner is not None} if values else value
        )
    if isinstance(value, list):
        return [normalize(inner, items) for inner in value] if items else value
    if isinstance(value, float) and value.is_integer() and _takes_integers(schema):
        return int(value)
    return value


def find_faults(value: object, schema: Json, path: tuple[str, ...] = ()) -> Iterator[Fault]:
    """Everything that the schema does not admit, in the order of the value."""
    if (misfit := _misfit(value, schema)) is not None:
        yield Fault(path, misfit)
    elif isinstance(value, dict) and schema.get("type") == "object":
        yield from _faults_of_object(value, schema, path)
    elif isinstance(value, list):
        yield from _faults_of_list(value, schema, path)
    elif isinstance(value, str):
        yield from (Fault(path, text) for text in _faults_of_text(value, schema))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from (Fault(path, text) for text in _faults_of_number(value, schema))


def show(value: object) -> str:
    """A value as a user would write it, shortened."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = "something that is no JSON"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def parts_of(schema: Json) -> tuple[dict[str, Json], Json, Json]:
    """What the schema says of members, of items, and of the values of a map."""
    properties, items, values = (schema.get(key) for key in ("properties", "items", "additionalProperties"))
    return (
        properties if isinstance(properties, dict) else {},
        items if isinstance(items, dict) else {},
        values if isinstance(values, dict) else {},
    )


def _takes_integers(schema: Json) -> bool:
    return schema.get("type") == "integer" or bool(schema.get(INT_OR_STRING))


def _misfit(value: object, schema: Json) -> str | None:
    """Why the value is of the wrong type; None if it is of the right one."""
    if schema.get(INT_OR_STRING):
        fits = isinstance(value, str) or _is_integer(value)
        remedy = "; write it in quotes" if isinstance(value, float) else ""
        return None if fits else f"takes a whole number or a text, found {show(value)}{remedy}"
    kind = schema.get("type")
    if not isinstance(kind, str) or _has_type(value, kind):
        return None
    return f"takes {_WORDS[kind]}, found {show(value)}{_remedy(value, kind, schema.get('enum'))}"


def _has_type(value: object, kind: str) -> bool:
    match kind:
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return _is_integer(value)
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_BOOLEANS: Final = {True: ("on", "yes", "y", "true"), False: ("off", "no", "n", "false")}
"""Words that YAML takes for them, and a choice may be."""


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _remedy(value: object, kind: str, choices: object) -> str:
    if isinstance(value, bool) and isinstance(choices, list):
        word = next((each for each in choices if str(each).lower() in _BOOLEANS[value]), None)
        return f'; YAML reads {word} as {show(value)}: write "{word}"' if word is not None else ""
    if kind == "string" and isinstance(value, float):
        # 25.10 has become 25.1 by now.
        return "; write it in quotes"
    if kind == "string" and isinstance(value, int):
        return f"; write it in quotes: {json.dumps(show(value))}"
    if kind in ("integer", "number", "boolean") and isinstance(value, str):
        try:
            read = json.loads(value.lower())
        except (ValueError, RecursionError):
            return ""
        return f"; write it without quotes: {json.dumps(read)}" if _has_type(read, kind) else ""
    return ""


def _faults_of_object(value: dict[str, object], schema: Json, path: tuple[str, ...]) -> Iterator[Fault]:
    properties, _, values = parts_of(schema)
    required = schema.get("required")
    for name in required if isinstance(required, list) else ():
        if name not in value:
            yield Fault((*path, str(name)), "is missing, and nothing can be done without it")
    limit = schema.get("maxProperties")
    if isinstance(limit, int) and len(value) > limit:
        yield Fault(path, f"takes at most {limit} members, found {len(value)}")
    if schema.get(PRESERVE_UNKNOWN):
        return
    for name, inner in value.items():
        if name in properties:
            yield from find_faults(inner, properties[name], (*path, name))
        elif values:
            yield from find_faults(inner, values, (*path, str(name)))
        else:
            yield Fault((*path, str(name)), "there is no such field", is_unknown=True)


def _faults_of_list(value: list[object], schema: Json, path: tuple[str, ...]) -> Iterator[Fault]:
    _, items, _ = parts_of(schema)
    low, high = schema.get("minItems"), schema.get("maxItems")
    if isinstance(high, int) and len(value) > high:
        yield Fault(path, f"takes at most {high} items, found {len(value)}")
    if isinstance(low, int) and len(value) < low:
        yield Fault(path, f"takes at least {low} items, found {len(value)}; leave the field out instead")
    for place, inner in enumerate(value):
        yield from find_faults(inner, items, (*path, str(place)))
    keys = schema.get(LIST_MAP_KEYS)
    if schema.get(LIST_TYPE) == "map" and isinstance(keys, list):
        names = [tuple(item.get(key) for key in keys) for item in value if isinstance(item, dict)]
        for name in sorted({str(name[0]) for name in names if names.count(name) > 1}):
            yield Fault(path, f"names {show(name)} twice")


def _faults_of_text(value: str, schema: Json) -> Iterator[str]:
    choices = schema.get("enum")
    if isinstance(choices, list) and value not in choices:
        near = next((choice for choice in choices if str(choice).lower() == value.lower()), None)
        hint = f": did you mean {near}?" if near else ""
        yield f"takes one of {', '.join(map(str, choices))}, found {show(value)}{hint}"
    low, high = schema.get("minLength"), schema.get("maxLength")
    if isinstance(low, int) and len(value) < low:
        yield f"takes a text of at least {low} characters, found {show(value)}"
    if isinstance(high, int) and len(value) > high:
        yield f"takes a text of at most {high} characters, found {len(value)}"


def _faults_of_number(value: float, schema: Json) -> Iterator[str]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if isinstance(low, int | float) and (value < low or (value == low and schema.get("exclusiveMinimum"))):
        yield f"takes {'more than' if schema.get('exclusiveMinimum') else 'at least'} {low}, found {show(value)}"
    if isinstance(high, int | float) and value > high:
        yield f"takes at most {high}, found {show(value)}"
