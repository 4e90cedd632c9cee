"""What a pod asks the scheduler for, by the rules of Kubernetes' own documentation."""

from decimal import Decimal
from typing import Any

import pytest

from triton_vllm_operator.kube.requests import pod_requests


def container(restart: str | None = None, limits: dict[str, str] | None = None, **requests: str) -> dict[str, Any]:
    resources = {"requests": requests, **({"limits": limits} if limits else {})}
    return {"resources": resources, **({"restartPolicy": restart} if restart else {})}


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"containers": [container(cpu="500m"), container(cpu="1")]}, {"cpu": "1.5"}),
        ({"containers": [container(cpu="1")], "initContainers": [container(cpu="2")]}, {"cpu": "2"}),
        ({"containers": [container(cpu="2")], "initContainers": [container(cpu="1")]}, {"cpu": "2"}),
        ({"containers": [container(cpu="2")], "initContainers": [container("Always", cpu="1")]}, {"cpu": "3"}),
        (
            {"containers": [container(cpu="1")], "initContainers": [container("Always", cpu="1"), container(cpu="3")]},
            {"cpu": "4"},
        ),
        ({"containers": [container(limits={"nvidia.com/gpu": "2"})]}, {"nvidia.com/gpu": "2"}),
        ({"containers": [container(cpu="1")], "overhead": {"cpu": "250m"}}, {"cpu": "1.25"}),
        ({"containers": [container(cpu="1")], "resources": {"requests": {"cpu": "4"}}}, {"cpu": "4"}),
        ({"containers": [container(cpu="1", memory="odd")]}, {"cpu": "1"}),
        ({}, {}),
    ],
)
def test_what_a_pod_asks_for(spec: dict[str, Any], wanted: dict[str, str]) -> None:
    found = pod_requests(spec)
    assert found == {**{name: Decimal(amount) for name, amount in wanted.items()}, "pods": 1}
