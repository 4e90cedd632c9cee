"""The Kubernetes API conventions, checked on a CRD: `python -m tools.crd_conventions FILE...`.

The rules are those of kube-api-linter that can be seen in OpenAPI; it reads Go types, ours are Python.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Schema = dict[str, Any]

# Deliberate exceptions: docs/design/api.md gives the reasons.
_FLOATS = {"spec.engine.gpuMemoryUtilization", "status.engine.gpuMemoryUtilization"}
_BOOLEANS = {
    "spec.engine.enforceEager",
    "spec.engine.enablePrefixCaching",
    "spec.engine.enableChunkedPrefill",
    "spec.engine.trustRemoteCode",
    "spec.model.huggingFace.offline",
    "spec.model.tokenizer.huggingFace.offline",
    "spec.model.loraAdapters[].huggingFace.offline",
    "spec.engine.speculativeConfig.model.huggingFace.offline",
}
_FOREIGN_ENUMS = {"spec.engine.dtype", "spec.engine.schedulingPolicy"}
_CAMEL = re.compile(r"^[a-z][a-zA-Z0-9]*$")
_PASCAL = re.compile(r"^[A-Z][A-Za-z0-9]*$")
_DURATION = re.compile(r"(?i)(timeout|period|deadline|interval)$")
_CONDITION_FIELDS = {"type", "status", "observedGeneration", "lastTransitionTime", "reason", "message"}


def check_crd(crd: Schema) -> Iterator[str]:
    """Every convention that the CRD breaks, as a sentence that begins with the field."""
    for version in crd["spec"]["versions"]:
        if "status" not in version.get("subresources", {}):
            yield "versions: the status subresource is missing"
        root = version["schema"]["openAPIV3Schema"]
        if "required" in root["properties"]["status"]:
            yield "status: its fields must be optional"
        yield from _check_conditions(root["properties"]["status"])
        for part in ("spec", "status"):
            yield from _check(root["properties"][part], part)


def _check_conditions(status: Schema) -> Iterator[str]:
    names = list(status["properties"])
    if names[:1] != ["conditions"]:
        yield "status.conditions: must be the first field of status"
        return
    conditions = status["properties"]["conditions"]
    if conditions.get("x-kubernetes-list-type") != "map" or conditions.get("x-kubernetes-list-map-keys") != ["type"]:
        yield "status.conditions: must be a list map with the key type"
    missing = _CONDITION_FIELDS - set(conditions["items"]["properties"])
    if missing:
        yield f"status.conditions: lacks {sorted(missing)}"
    if "phase" in names:
        yield "status.phase: phases are deprecated, use conditions"


def _check(node: Schema, path: str) -> Iterator[str]:
    if node.get("nullable"):
        yield f"{path}: nullable; in a CRD, optional is absent"
    if not node.get("description") and not path.endswith("[]"):
        yield f"{path}: has no description"
    if node.get("x-kubernetes-int-or-string"):
        return
    match node.get("type"):
        case "string":
            yield from _check_string(node, path)
        case "integer":
            yield from _check_integer(node, path)
        case "number" if path not in _FLOATS:
            yield f"{path}: a float"
        case "boolean" if path not in _BOOLEANS:
            yield f"{path}: a boolean, where a third value may come"
        case "array":
            yield from _check_array(node, path)
        case "object":
            yield from _check_object(node, path)


def _check_string(node: Schema, path: str) -> Iterator[str]:
    if "enum" in node:
        foreign = [value for value in node["enum"] if not _PASCAL.match(value)]
        if foreign and path not in _FOREIGN_ENUMS:
            yield f"{path}: enum values {foreign} are not PascalCase"
    elif "maxLength" not in node:
        yield f"{path}: a string without maxLength"


def _check_integer(node: Schema, path: str) -> Iterator[str]:
    if node.get("format") not in ("int32", "int64"):
        yield f"{path}: an integer that is neither int32 nor int64"
    if "minimum" not in node or "maximum" not in node:
        yield f"{path}: an integer without both bounds"
    if _DURATION.search(path):
        yield f"{path}: a duration without its unit in the name"


def _check_array(node: Schema, path: str) -> Iterator[str]:
    if "maxItems" not in node:
        yield f"{path}: a list without maxItems"
    if "x-kubernetes-list-type" not in node:
        yield f"{path}: a list without x-kubernetes-list-type"
    yield from _check(node["items"], f"{path}[]")


def _check_object(node: Schema, path: str) -> Iterator[str]:
    extra = node.get("additionalProperties")
    if isinstance(extra, dict):
        if "maxProperties" not in node:
            yield f"{path}: a map without maxProperties"
        if extra.get("type") == "object":
            yield f"{path}: a map of objects; use a list of named objects"
    required = node.get("required", [])
    for name, child in node.get("properties", {}).items():
        where = f"{path}.{name}"
        if not _CAMEL.match(name):
            yield f"{where}: not camelCase"
        if name.endswith("Timestamp"):
            yield f"{where}: times are named ...Time"
        if name in required and "default" in child:
            yield f"{where}: required and defaulted"
        yield from _check(child, where)


def main(files: list[str]) -> int:
    """1 if a convention is broken."""
    problems = [f"{name}: {p}" for name in files for p in check_crd(yaml.safe_load(Path(name).read_text()))]
    print("\n".join(problems), file=sys.stderr) if problems else None
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
