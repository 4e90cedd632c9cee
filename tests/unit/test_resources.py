"""Requests and limits that no pod could be made with are refused before a Deployment is."""

from typing import Any

import pytest

from support.simulate import World

SPEC: dict[str, Any] = {"model": {"image": {"reference": "registry/model:1"}}, "runtime": {"version": "26.08"}}


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"requests": {"cpu": 8}, "limits": {"cpu": 4}}, "spec.resources.requests.cpu 8 is more than"),
        ({"requests": {"memory": "20Gi"}, "limits": {"memory": "20G"}}, "requests.memory 20Gi is more than"),
        ({"requests": {"hugepages-2Mi": "1Gi"}}, "huge pages need the same in spec.resources.limits"),
        ({"limits": {"gpu": 1}}, "spec.resources.limits.gpu: there is no such resource; it takes cpu, memory"),
    ],
)
def test_what_kubernetes_would_refuse_is_named_by_its_field(resources: dict[str, Any], words: str) -> None:
    world = World(spec={**SPEC, "resources": resources}).settle()
    assert world.condition("Accepted") == ("False", "SpecInvalid")
    assert words in world.message("Accepted")


def test_what_kubernetes_takes_passes() -> None:
    resources = {
        "requests": {"cpu": "500m", "memory": "1Gi", "hugepages-2Mi": "1Gi"},
        "limits": {"cpu": 1, "memory": "1024Mi", "hugepages-2Mi": "1Gi", "ephemeral-storage": "1G"},
    }
    assert World(spec={**SPEC, "resources": resources}).settle().condition("Accepted") == ("True", "Valid")
