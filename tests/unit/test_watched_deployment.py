"""What of a Deployment is looked at again: its controller writes to it all the time."""

from typing import Any

import pytest

from triton_vllm_operator.kube.cache import Cache
from triton_vllm_operator.kube.deployment import awaits_controller
from triton_vllm_operator.kube.resources import DEPLOYMENT, Key


def make_deployment(version: int, surge: object, observed: int) -> dict[str, Any]:
    owner = {"kind": "LLMDeployment", "name": "llama", "uid": "1", "controller": True}
    metadata = {"namespace": "a", "name": "llama", "uid": "2", "resourceVersion": str(version), "generation": 7}
    return {
        "metadata": {**metadata, "ownerReferences": [owner]},
        "spec": {"strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": 0}}},
        "status": {"observedGeneration": observed},
    }


@pytest.mark.parametrize(("surge", "is_looked_at"), [(1, False), (0, False), ("25%", False), (2, True)])
def test_what_its_controller_has_seen_counts_where_more_pods_stay_than_a_surge_makes(
    surge: object, is_looked_at: bool
) -> None:
    cache = Cache()
    cache.put(DEPLOYMENT, make_deployment(1, surge, 6))
    assert (cache.put(DEPLOYMENT, make_deployment(2, surge, 7)) is not None) is is_looked_at
    (seen,) = cache.children(Key("a", "llama"), DEPLOYMENT)
    assert not awaits_controller(seen)
    assert awaits_controller(make_deployment(1, surge, 6)) is is_looked_at
