import copy
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from cluster.paths import REPOSITORY
from tools import generated
from tools.crd_conventions import check_crd
from triton_vllm_operator.api import crd
from triton_vllm_operator.api.changes import ChangeClass, find_changes, rolling_part
from triton_vllm_operator.api.spec import LLMDeploymentSpec

CRD: Any = crd.build_crd()
SCHEMA = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def test_the_committed_crd_is_the_one_of_the_types() -> None:
    assert yaml.safe_load(generated.CRD.read_text()) == CRD


def test_the_charts_catalogue_is_the_packages() -> None:
    values, runtimes = (generated.CHART / "values.yaml").read_text(), generated.RUNTIMES.read_text()
    assert generated.render_values(values, runtimes) == values
    assert yaml.safe_load(values)["runtimes"] == yaml.safe_load(runtimes)


def test_the_crd_keeps_the_conventions() -> None:
    assert list(check_crd(CRD)) == []


BREAKS: list[tuple[str, dict[str, Any], str]] = [
    ("replicas", {"type": "integer", "description": "x"}, "neither int32 nor int64"),
    ("a", {"type": "string", "description": "x"}, "without maxLength"),
    ("a", {"type": "boolean", "description": "x"}, "a boolean"),
    ("a", {"type": "number", "description": "x"}, "a float"),
    ("a", {"type": "string", "enum": ["lower"], "description": "x"}, "not PascalCase"),
    ("a", {"type": "string", "maxLength": 3, "nullable": True, "description": "x"}, "nullable"),
    ("a", {"type": "array", "maxItems": 1, "items": {"type": "object"}, "description": "x"}, "list-type"),
    ("startTimestamp", {"type": "string", "maxLength": 9, "description": "x"}, "named ...Time"),
    ("Upper", {"type": "string", "maxLength": 9, "description": "x"}, "not camelCase"),
    ("a", {"type": "string", "maxLength": 9}, "no description"),
]


@pytest.mark.parametrize(("name", "schema", "complaint"), BREAKS)
def test_the_linter_names_what_breaks_them(name: str, schema: dict[str, Any], complaint: str) -> None:
    broken = copy.deepcopy(CRD)
    spec = broken["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"][name] = schema
    assert any(complaint in problem for problem in check_crd(broken))


@pytest.mark.parametrize("sample", sorted((REPOSITORY / "samples").glob("*.yaml")), ids=lambda path: path.name)
def test_samples_fit_the_schema_and_the_types(sample: Any) -> None:
    manifest = yaml.safe_load(sample.read_text())
    Draft202012Validator(_json_schema(SCHEMA)).validate(manifest)
    LLMDeploymentSpec.model_validate(manifest["spec"])


def _json_schema(node: Any) -> Any:
    """OpenAPI 3.0 writes an exclusive minimum as a flag; JSON Schema as a number."""
    if isinstance(node, list):
        return [_json_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    out = {key: _json_schema(value) for key, value in node.items()}
    if out.get("exclusiveMinimum") is True:
        out["exclusiveMinimum"] = out.pop("minimum")
    return out


CHANGES = [
    ({"replicas": 7}, "spec.replicas", ChangeClass.NONE),
    ({"probe": {"periodSeconds": 1}}, "spec.probe.periodSeconds", ChangeClass.NONE),
    ({"runtime": {"version": "26.08", "argumentCheck": "Warn"}}, "spec.runtime.argumentCheck", ChangeClass.NONE),
    ({"runtime": {"version": "26.07"}}, "spec.runtime.version", ChangeClass.ROLLING),
    ({"engine": {"extraArgs": {"seed": 1}}}, "spec.engine.extraArgs", ChangeClass.ROLLING),
    ({"sharedMemorySize": "1Gi"}, "spec.sharedMemorySize", ChangeClass.ROLLING),
    ({"model": {"image": {"reference": "b"}}}, "spec.model.image.reference", ChangeClass.ROLLING),
    ({"model": {"image": {"reference": "a"}, "servedName": "b"}}, "spec.model.servedName", ChangeClass.REFUSED),
]


@pytest.mark.parametrize(("changed", "path", "kind"), CHANGES, ids=[path for _, path, _ in CHANGES])
def test_what_a_change_does_is_known_by_its_field(changed: dict[str, Any], path: str, kind: ChangeClass) -> None:
    base = {"model": {"image": {"reference": "a"}}, "runtime": {"version": "26.08"}}
    one, other = (LLMDeploymentSpec.model_validate(spec) for spec in (base, {**base, **changed}))
    (change,) = find_changes(one, other)
    assert (change.path, change.change_class) == (path, kind)
    assert (rolling_part(one) == rolling_part(other)) == (kind is ChangeClass.NONE)


def test_what_restarts_nothing_is_not_part_of_a_revision() -> None:
    base = {"model": {"image": {"reference": "m:1"}}, "runtime": {"version": "26.08"}}
    one = LLMDeploymentSpec.model_validate(base)
    other = LLMDeploymentSpec.model_validate({**base, "replicas": 7, "probe": {"periodSeconds": 1}})
    assert rolling_part(one) == rolling_part(other)
    moved = LLMDeploymentSpec.model_validate({**base, "engine": {"maxModelLen": 5}})
    assert rolling_part(one) != rolling_part(moved)


def test_quantities_may_be_plain_integers() -> None:
    base = {"model": {"image": {"reference": "m:1"}}, "runtime": {"version": "26.08"}}
    spec = LLMDeploymentSpec.model_validate({**base, "resources": {"limits": {"cpu": 2}}})
    assert spec.resources is not None
    assert spec.resources.limits == {"cpu": "2"}
