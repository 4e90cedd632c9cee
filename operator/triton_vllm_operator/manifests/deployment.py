"""The Deployment: the pods of the current revision."""

from triton_vllm_operator.api import names
from triton_vllm_operator.api.base import Json
from triton_vllm_operator.manifests.identity import Owner, build_child


def build_deployment(
    owner: Owner, revision: str, pod_template: Json, replicas: int, startup_deadline_seconds: int
) -> Json:
    """The Deployment that runs `pod_template` under the label of `revision`.

    maxSurge 0: a new pod would wait for a GPU that the old one holds, and the update would never end.
    """
    metadata = pod_template["metadata"]
    assert isinstance(metadata, dict)
    labels = {**metadata["labels"], names.LABEL_REVISION: revision}
    spec: Json = {
        "replicas": replicas,
        "selector": {"matchLabels": names.child_labels(owner.name)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
        "progressDeadlineSeconds": startup_deadline_seconds,
        # Old ReplicaSets serve nothing: a rollback goes through the LLMDeployment.
        "revisionHistoryLimit": 0,
        "template": {**pod_template, "metadata": {**metadata, "labels": labels}},
    }
    return build_child(owner, "apps/v1", "Deployment", owner.name, {"spec": spec})
