"""The Deployment: the pods of the current revision."""

from collections.abc import Mapping
from typing import Final

from triton_vllm_operator.api import names
from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.rollout import RolloutWay
from triton_vllm_operator.kube.deployment import find_bounds, find_surge
from triton_vllm_operator.manifests.identity import Owner, build_child

_BOUNDS: Final[Mapping[RolloutWay, Json]] = {
    RolloutWay.SURGE: {"maxSurge": 1, "maxUnavailable": 0},
    # With a surge a new pod might wait for the GPU that the old one holds, and the update would never end.
    RolloutWay.REPLACE: {"maxSurge": 0, "maxUnavailable": 1},
}


def build_deployment(
    owner: Owner,
    revision: str,
    pod_template: Json,
    replicas: int,
    startup_deadline_seconds: int,
    way: RolloutWay,
    surge: int = 1,
    paused: bool = False,
) -> Json:
    """The Deployment that runs `pod_template` under the label of `revision`; one that is paused replaces no pod.

    `surge`: how many pods more than `replicas` it may have, where it has any. Where that is more than one, it is paused
    until its controller has seen it, or that would make so many new ones.
    """
    metadata = pod_template["metadata"]
    assert isinstance(metadata, dict)
    labels = {**metadata["labels"], names.LABEL_REVISION: revision}
    bounds = {**_BOUNDS[way], "maxSurge": surge} if way is RolloutWay.SURGE else _BOUNDS[way]
    spec: Json = {
        "replicas": replicas,
        "selector": {"matchLabels": names.child_labels(owner.name)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": bounds},
        "progressDeadlineSeconds": startup_deadline_seconds,
        # Old ReplicaSets serve nothing: a rollback goes through the LLMDeployment.
        "revisionHistoryLimit": 0,
        **({"paused": True} if paused or surge > 1 else {}),
        "template": {**pod_template, "metadata": {**metadata, "labels": labels}},
    }
    return build_child(owner, "apps/v1", "Deployment", owner.name, {"spec": spec})


def find_way(deployment: Json) -> RolloutWay | None:
    """How a Deployment replaces its pods now; None if somebody else has chosen another way."""
    bounds = find_bounds(deployment)
    if find_surge(deployment) > 1:
        bounds = {**bounds, "maxSurge": 1}
    return next((way for way, given in _BOUNDS.items() if bounds == given), None)
