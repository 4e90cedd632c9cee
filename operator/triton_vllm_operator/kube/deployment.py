"""What a Deployment says of how it replaces its pods."""

from typing import Final

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.kube.resources import as_dict, metadata_of

OBSERVED: Final = "observedGeneration"
"""Of its status: what its controller has acted on. It is kept while more than one pod may be too many."""


def find_bounds(deployment: Json) -> Json:
    """Between how few and how many pods it stays."""
    return as_dict(as_dict(as_dict(deployment.get("spec")).get("strategy")).get("rollingUpdate"))


def find_surge(deployment: Json) -> int:
    """How many pods more than its replicas it may have; 0 also where somebody gave it as a part of them."""
    surge = find_bounds(deployment).get("maxSurge")
    return surge if isinstance(surge, int) else 0


def awaits_controller(deployment: Json) -> bool:
    """Whether more than one pod may be too many, and its controller has not acted on that yet."""
    seen = as_dict(deployment.get("status")).get(OBSERVED)
    return find_surge(deployment) > 1 and seen != metadata_of(deployment).get("generation")
