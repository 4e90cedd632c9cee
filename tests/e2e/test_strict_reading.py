"""`kubectl llm explain` and the API server say the same of a spec: what one refuses the other does not take."""

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from support.api_server import ApiServer
from support.specs import drawn_specs
from triton_vllm_operator.api import names
from triton_vllm_operator.api.reading import read_spec

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def api_server(cluster: str) -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


def as_json(spec: Any) -> str:
    document = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": {"name": "web"}, "spec": spec}
    return json.dumps(document)


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
