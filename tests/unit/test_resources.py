"""Requests and limits that no pod could be made with are refused before a Deployment is."""

from typing import Any

import pytest

from support.simulate import World

SPEC: dict[str, Any] = {"model": {"image": {"reference": "registry/model:1"}}, "runtime": {"version": "26.08"}}


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"requests": {"cpu": 8}, "limits": {"cpu": 4}}, "spec.resources.requests.cpu 8 is more than"),
        ({"requests": {"memory": "20Gi"}, "limits": {"memory": "20G"}}, "write 20G or less, or raise the limit"),
        ({"requests": {"hugepages-2Mi": "1Gi"}}, "write the same amount in spec.resources.limits.hugepages-2Mi"),
        (
            {"requests": {"cpu": 1, "hugepages-2Mi": "1Gi"}, "limits": {"hugepages-2Mi": "2Gi"}},
            "requests.hugepages-2Mi: write the same amount",
        ),
        ({"limits": {"hugepages-2Mi": "1Gi"}}, "spec.resources: hugepages-2Mi needs cpu or memory beside it"),
        (
            {"limits": {"gpu": 1}},
            "and hugepages-SIZE; GPUs follow from spec.engine.tensorParallelSize",
        ),
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


def test_those_of_the_fetch_are_looked_at_too() -> None:
    fetch = {"resources": {"requests": {"cpu": 2}, "limits": {"cpu": 1}}}
    world = World(spec={**SPEC, "fetch": fetch}).settle()
    assert "spec.fetch.resources.requests.cpu 2 is more than" in world.message("Accepted")
