"""Specs drawn from the CRD's own schema: valid ones, and ones that went wrong as people and templates do."""

import copy
from typing import Any

from hypothesis import strategies as st

from triton_vllm_operator.api.base import INT_OR_STRING, PRESERVE_UNKNOWN
from triton_vllm_operator.api.reading import spec_schema

# Texts that fit, where a rule says what fits; by the last part of the path.
_TEXTS: dict[str, list[str]] = {
    "claimName": ["models"],
    "repository": ["acme/tiny", "tiny"],
    "reference": ["registry/model:1", "a@sha256:00"],
    "image": ["registry/triton:1"],
    "endpoint": ["https://mirror.example.com", "http://a.b:8080/c"],
    "revision": ["main", "refs/pr/1"],
    "path": ["a/b", "models"],
    "version": ["26.08", "cpu-0.32.0"],
    "vllmVersion": ["0.27.1", "0.10.1.1", "0.8.5.post1", "0.27.1+cu129"],
    "kvCacheSize": ["1Gi", "16Gi"],
    "resourceName": ["nvidia.com/gpu", "nvidia.com/mig-3g.40gb"],
    "method": ["ngram", "mtp"],
    "topologyKey": ["topology.kubernetes.io/zone"],
    "key": ["token", "zone"],
}
_QUANTITIES = ["500m", "2Gi", "1e3", "0.5", 4, 0, "10Mi"]
# What is written where something else is wanted.
_WRONG: list[Any] = [
    *(
        "",
        " ",
        "true",
        "8",
        "0.9",
        "x" * 5000,
        "32GB",
        "/path",
        "path/",
        "hf://a/b",
        "a\n",
        "..",
        "é",
        "no",
        "Auto",
        "auto",
    ),
    *(True, False, None, 0, -1, 1, 8.0, 0.5, 1e300, 2**31, 2**63, -(2**63)),
    *([], [1], ["a"], [None], {}, {"a": 1}, {"a": None}, [{}]),
]
_STRANGE_NAMES = [
    "gpu_memory_utilization",
    "max-model-len",
    "Replicas",
    "nodeSelector",
    "image",
    "x",
    "",
    "a.b",
    "modelName",
]
_ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def valid(schema: dict[str, Any], name: str = "") -> st.SearchStrategy[Any]:
    """Values that fit the schema; rules between fields are left to luck."""
    if schema.get(INT_OR_STRING):
        return st.sampled_from([*_QUANTITIES, 1024, "Auto"])
    match schema.get("type"):
        case "object":
            return _valid_object(schema)
        case "array":
            return st.lists(valid(schema["items"]), max_size=3)
        case "string":
            return st.sampled_from(schema.get("enum") or _TEXTS.get(name) or ["a", "web", "x-1"])
        case "integer":
            return st.integers(schema["minimum"], min(schema["maximum"], schema["minimum"] + 40))
        case "number":
            return st.sampled_from([0.5, 0.9, 1])
        case "boolean":
            return st.booleans()
    return _ANY_JSON


def _valid_object(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    if schema.get(PRESERVE_UNKNOWN):
        return st.dictionaries(st.sampled_from(["seed", "a", "b"]), _ANY_JSON, max_size=3)
    if "additionalProperties" in schema:
        return st.dictionaries(
            st.sampled_from(["cpu", "memory", "zone"]), valid(schema["additionalProperties"]), max_size=3
        )
    members = {name: st.deferred(lambda n=name, s=inner: valid(s, n)) for name, inner in schema["properties"].items()}
    required = {name: members.pop(name) for name in schema.get("required", ())}
    # Of unions of sources one member, most of the time; of the rest a few.
    chosen = st.lists(st.sampled_from(sorted(members)), max_size=3, unique=True) if members else st.just([])
    return chosen.flatmap(lambda names: st.fixed_dictionaries({**required, **{name: members[name] for name in names}}))


def _source() -> st.SearchStrategy[Any]:
    return st.sampled_from(
        [
            {"image": {"reference": "registry/model:1"}},
            {"persistentVolumeClaim": {"claimName": "models", "path": "a/b"}},
            {"huggingFace": {"repository": "acme/tiny"}},
        ]
    ).map(copy.deepcopy)


@st.composite
def drawn_specs(draw: st.DrawFn) -> Any:
    """A spec: as it should be, or with up to three things gone wrong."""
    spec = draw(valid(spec_schema()))
    spec["model"] = {**spec["model"], **draw(_source())} if draw(st.booleans()) else draw(_source())
    spec["runtime"] = {"version": "26.08"} if draw(st.integers(0, 3)) else spec["runtime"]
    for _ in range(draw(st.integers(0, 3))):
        spec = draw(_spoilt(spec))
    return spec


@st.composite
def _spoilt(draw: st.DrawFn, spec: Any) -> Any:
    """One place of the spec changed for the worse, or not."""
    spoilt = copy.deepcopy(spec)
    places = list(_places(spoilt))
    if not places:
        return spoilt
    owner, key = draw(st.sampled_from(places))
    match draw(st.sampled_from(["replace", "remove", "rename", "add", "move", "twice", "deep"])):
        case "replace":
            owner[key] = copy.deepcopy(draw(st.sampled_from(_WRONG)))
        case "remove" if isinstance(owner, dict):
            del owner[key]
        case "rename" if isinstance(owner, dict):
            owner[draw(st.sampled_from([*_STRANGE_NAMES, _snake(key)]))] = owner.pop(key)
        case "add" if isinstance(owner, dict):
            owner[draw(st.sampled_from(_STRANGE_NAMES))] = copy.deepcopy(draw(st.sampled_from(_WRONG)))
        case "move" if isinstance(owner, dict):
            spoilt[key] = owner.pop(key)
        case "twice" if isinstance(owner, list):
            owner.append(copy.deepcopy(owner[key]))
        case "deep":
            spoilt.setdefault("engine", {})
            if isinstance(spoilt["engine"], dict):
                spoilt["engine"]["extraArgs"] = {"hf_overrides": _nested(draw(st.sampled_from([10, 200, 400])))}
    return spoilt


def _places(value: Any) -> Any:
    """Every member of every object and list, with what holds it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from _places(inner)


def _snake(name: Any) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in str(name))


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": [value]}
    return value
