"""`kubectl llm explain` and the API server say the same of a spec: what one refuses the other does not take."""

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from support.api_server import ApiServer
from support.llm import make_llm
from support.specs import drawn_specs
from triton_vllm_operator.api import names
from triton_vllm_operator.api.reading import read_spec
from triton_vllm_operator.cli.metadata import find_metadata_faults

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def api_server(cluster: str) -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


def as_json(spec: Any) -> str:
    document = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": {"name": "web"}, "spec": spec}
    return json.dumps(document)


METADATA: list[dict[str, Any]] = [
    {},
    {"labels": {"a": "b", "example.com/A_b.c": ""}, "annotations": {"Example.com/a": "b c/d"}, "finalizers": ["x.y/z"]},
    {"labels": {}, "annotations": None, "finalizers": [], "generateName": "x-"},
    *({"labels": {key: "b"}} for key in ("a b", "/a", "a/", "a/b/c", "Ex.com/a", "-a", "a" * 63, "a" * 64, "", "é")),
    *({"labels": {"a": value}} for value in ("b c", "-b", "b-", "b" * 63, "b" * 64, "é", "B_b.b", 1, True, None)),
    *({"annotations": {key: "b"}} for key in ("a b", "/a", "a/", "A/b", f"{'d' * 253}/a", f"{'d' * 254}/a", "a" * 64)),
    *({"annotations": {"a": value}} for value in ("é" * 9, 1, [], "x" * (256 * 1024 - 1), "x" * 256 * 1024)),
    *({"finalizers": names} for names in (["a b"], ["x/y/z"], [1], ["a"])),
    *({name: {}} for name in ("label", "annotation", "owner")),
    *({name: value} for name in ("finalizers", "ownerReferences", "managedFields") for value in ("a", {})),
    *({"creationTimestamp": value} for value in ("foo", 5, "2026-01-31T12:00:00Z", "2026-01-31", None)),
    *({name: value} for name in ("uid", "generation", "resourceVersion", "selfLink") for value in (5, "a", True)),
    {"labels": 5},
    {"annotations": ["a"]},
]


@pytest.mark.parametrize("metadata", METADATA, ids=range(len(METADATA)))
def test_both_give_one_verdict_of_metadata(
    shared_namespace: str, api_server: ApiServer, metadata: dict[str, Any]
) -> None:
    body = json.loads(as_json(make_llm("web", "any")["spec"]))
    body["metadata"] |= metadata
    refused = api_server.refusal(shared_namespace, json.dumps(body))
    found = list(find_metadata_faults(body["metadata"]))
    assert bool(refused) == bool(found), f"explain: {found or 'accepted'}; API server: {refused or 'accepted'}"


@pytest.fixture(autouse=True)
def _deep_calls() -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    yield
    sys.setrecursionlimit(before)


@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(spec=drawn_specs())
def test_both_give_one_verdict(shared_namespace: str, api_server: ApiServer, spec: Any) -> None:
    read = read_spec(json.loads(json.dumps(spec)))
    refused = api_server.refusal(shared_namespace, as_json(spec))
    assert bool(refused) == isinstance(read, tuple), (
        f"explain: {read if isinstance(read, tuple) else 'accepted'}; API server: {refused or 'accepted'}"
    )
