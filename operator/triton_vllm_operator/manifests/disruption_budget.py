"""The PodDisruptionBudget: of several pods one at a time goes when a node is drained."""

from typing import Final

from triton_vllm_operator.api import names
from triton_vllm_operator.api.base import Json
from triton_vllm_operator.manifests.identity import Owner, build_child

LEAST_REPLICAS: Final = 2
"""A budget for one pod would keep its node from being drained for ever."""


def build_disruption_budget(owner: Owner) -> Json:
    """One pod may be missing. A pod that is not ready serves nobody, and never holds up a drain."""
    spec: Json = {
        "maxUnavailable": 1,
        "selector": {"matchLabels": names.child_labels(owner.name)},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return build_child(owner, "policy/v1", "PodDisruptionBudget", owner.name, {"spec": spec})
