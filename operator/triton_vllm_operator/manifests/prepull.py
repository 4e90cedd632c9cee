"""The Job that brings the images of a pod to a node, before another pod there goes for it."""

from typing import Final

from triton_vllm_operator.api import names
from triton_vllm_operator.api.base import Json
from triton_vllm_operator.kube.resources import as_dict, as_list
from triton_vllm_operator.manifests.identity import Owner
from triton_vllm_operator.manifests.job import Purpose, build_job
from triton_vllm_operator.manifests.preparation import build_pod_metadata, tolerate_gpus
from triton_vllm_operator.manifests.revision import Revision
from triton_vllm_operator.manifests.security import CONTAINER_SECURITY

_RETRIES: Final = 20
"""A pod that is deleted or evicted on the way."""
_LITTLE: Final = {"cpu": "100m", "memory": "128Mi", "ephemeral-storage": "64Mi"}
RAN: Final = "PodFailurePolicy"
"""Why such a Job has failed whose container ran, or could not: its image is there.

https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy
"""
_COPIED: Final = ("imagePullSecrets", "serviceAccountName", "schedulerName", "runtimeClassName", "securityContext")
"""What decides how a node pulls an image, and whether it may, and who places the pod."""
_NAMED: Final = {
    "serviceAccountName": "ServiceAccount",
    "runtimeClassName": "RuntimeClass",
    "priorityClassName": "PriorityClass",
}
"""What must be there for a pod to be made."""


def find_needs(pod_template: Json) -> frozenset[str]:
    """What a node must have to start a pod, or the namespace: images, claims, and what is referred to by its name."""
    pod = as_dict(pod_template.get("spec"))
    return frozenset(
        (
            *(str(container["image"]) for container in _containers(pod)),
            *(str(as_dict(volume["image"]).get("reference")) for volume in _image_volumes(pod)),
            *(_need_of(volume) for volume in _claim_volumes(pod)),
            *(f"{kind} {pod[member]}" for member, kind in _NAMED.items() if pod.get(member)),
        )
    )


def build_prepull_job(owner: Owner, revision: Revision, node: str, lacking: frozenset[str]) -> Json:
    """A pod on that node with the images of a revision's pods, which does nothing and needs no GPU.

    An image without the program `true` is pulled all the same: the Job then fails, which says as much. Of claims it
    mounts those that are lacking: another pod may have the others for itself.
    """
    pod = as_dict(revision.pod_template.get("spec"))
    volumes = [*_image_volumes(pod), *(volume for volume in _claim_volumes(pod) if _need_of(volume) in lacking)]
    named = {member: pod[member] for member, kind in _NAMED.items() if f"{kind} {pod.get(member)}" in lacking}
    content: Json = {
        "backoffLimit": _RETRIES,
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [0]}},
            ]
        },
        "template": {
            "metadata": build_pod_metadata(revision.spec, names.fetch_labels(owner.name)),
            "spec": {
                **{key: pod[key] for key in _COPIED if key in pod},
                **named,
                "restartPolicy": "Never",
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "affinity": {"nodeAffinity": _on(node)},
                "tolerations": [*as_list(pod.get("tolerations")), *tolerate_gpus(revision.spec.gpu_resource)],
                "initContainers": [_build_container(each, volumes) for each in as_list(pod.get("initContainers"))],
                "containers": [_build_container(each, volumes) for each in as_list(pod.get("containers"))],
                "volumes": volumes,
            },
        },
    }
    return build_job(owner, Purpose.PULL, content)


def _containers(pod: Json) -> list[Json]:
    return [*as_list(pod.get("initContainers")), *as_list(pod.get("containers"))]


def _image_volumes(pod: Json) -> list[Json]:
    return [volume for volume in as_list(pod.get("volumes")) if volume.get("image")]


def _claim_volumes(pod: Json) -> list[Json]:
    return [volume for volume in as_list(pod.get("volumes")) if volume.get("persistentVolumeClaim")]


def _need_of(volume: Json) -> str:
    return f"PersistentVolumeClaim {as_dict(volume['persistentVolumeClaim']).get('claimName')}"


def _build_container(container: Json, volumes: list[Json]) -> Json:
    pulled = {volume["name"] for volume in volumes}
    return {
        # Its name, and its mounts, are by what it is told for what an image is that cannot be pulled.
        "name": container["name"],
        "image": container["image"],
        "command": ["true"],
        "resources": {"requests": dict(_LITTLE), "limits": dict(_LITTLE)},
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [mount for mount in as_list(container.get("volumeMounts")) if mount["name"] in pulled],
    }


def _on(node: str) -> Json:
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    return {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
