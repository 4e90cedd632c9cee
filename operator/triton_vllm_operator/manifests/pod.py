"""The pod template: Triton with vLLM, locked down, with the model repository and the weights."""

import math
from dataclasses import dataclass
from typing import Final

from triton_vllm_operator.api import names
from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.cache import CompileCache
from triton_vllm_operator.api.platform import Pods
from triton_vllm_operator.api.scheduling import LabelSelector, Scheduling, TopologySpreadConstraint
from triton_vllm_operator.api.spec import LLMDeploymentSpec
from triton_vllm_operator.manifests.config_map import KEY_CONFIG, repository_files, repository_name
from triton_vllm_operator.manifests.preparation import (
    build_pod_metadata,
    build_prepare_container,
    build_resources,
)
from triton_vllm_operator.manifests.security import CONTAINER_SECURITY, build_pod_security, build_user_variables
from triton_vllm_operator.manifests.sources import Commits, build_volume, place_sources
from triton_vllm_operator.manifests.start import CACHE, REPOSITORY, build_start
from triton_vllm_operator.repository.content import Repository

_PRE_STOP_SECONDS: Final = 5
"""A pod leaves the Service when it is deleted; this is the time that takes to reach every node."""
_ENGINE_SECONDS: Final = 15
"""That the engine needs to end, after Triton has waited for requests under way."""


@dataclass(frozen=True, slots=True)
class PodInputs:
    """Everything that a pod template is made from."""

    instance: str
    served_name: str
    image: str
    repository: Repository
    spec: LLMDeploymentSpec
    vllm: str
    """The vLLM version inside the image."""
    pods: Pods
    """What the administrator decided for all pods."""
    commits: Commits
    """What the revisions of repositories stand for."""


def build_pod_template(inputs: PodInputs) -> Json:
    """The pod template, without the label that names its revision."""
    scheduling = inputs.spec.scheduling or Scheduling()
    spec: Json = {
        "readinessGates": [{"conditionType": names.READINESS_GATE}],
        "automountServiceAccountToken": False,
        # A Service called "vllm" would set VLLM_PORT in every pod, which vLLM reads as its own.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": longest_end(inputs.spec),
        **({"serviceAccountName": account} if (account := inputs.spec.service_account_name) else {}),
        "securityContext": build_pod_security(inputs.pods.set_user),
        "initContainers": [build_prepare_container(inputs.spec, inputs.vllm, inputs.pods, inputs.commits)],
        "containers": [_build_container(inputs)],
        "volumes": _build_volumes(inputs),
        **_build_scheduling(scheduling, inputs.instance),
    }
    return {"metadata": build_pod_metadata(inputs.spec, names.child_labels(inputs.instance)), "spec": spec}


def _build_container(inputs: PodInputs) -> Json:
    return {
        "name": names.CONTAINER,
        "image": inputs.image,
        "args": build_start(inputs.spec, inputs.vllm, inputs.image),
        "env": _build_environment(inputs.spec),
        "ports": [
            {"name": "http", "containerPort": names.PORT_HTTP, "protocol": "TCP"},
            {"name": "grpc", "containerPort": names.PORT_GRPC, "protocol": "TCP"},
            {"name": "metrics", "containerPort": names.PORT_METRICS, "protocol": "TCP"},
        ],
        # No liveness probe and no startup probe: a slow start is not a fault, and Triton's health
        # endpoints stay at 200 when the engine is dead. The readiness gate is the proof.
        "readinessProbe": {
            "httpGet": {"path": f"/v2/models/{inputs.served_name}/ready", "port": "http"},
            "periodSeconds": 5,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
        },
        "lifecycle": {"preStop": {"sleep": {"seconds": _pre_stop_seconds(inputs.spec)}}},
        "resources": _build_resources(inputs.spec),
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": _build_mounts(inputs),
    }


def _build_mounts(inputs: PodInputs) -> list[Json]:
    cache: list[Json] = [{"name": names.CACHE_VOLUME, "mountPath": CACHE}] if inputs.spec.cache else []
    return [
        {"name": "repository", "mountPath": f"{REPOSITORY}/{inputs.served_name}", "readOnly": True},
        *({"name": p.volume, "mountPath": p.mount, "readOnly": True} for p in place_sources(inputs.spec)),
        *cache,
        {"name": "shm", "mountPath": "/dev/shm"},
        {"name": "tmp", "mountPath": "/tmp"},
    ]


def longest_end(spec: LLMDeploymentSpec) -> int:
    """Seconds that a pod may take to go."""
    return _pre_stop_seconds(spec) + spec.ending.timeout_seconds + _ENGINE_SECONDS


def _pre_stop_seconds(spec: LLMDeploymentSpec) -> int:
    """A gRPC connection that was made just before the pod left the Service lives for its whole age, or a tenth more."""
    age = spec.ending.grpc_max_connection_age_seconds
    return _PRE_STOP_SECONDS + (math.ceil(1.1 * age) if age is not None else 0)


def _build_environment(spec: LLMDeploymentSpec) -> list[Json]:
    environment: list[Json] = [
        {"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        *build_user_variables(),
        {"name": "HF_HUB_OFFLINE", "value": "1"},
        {"name": "VLLM_NO_USAGE_STATS", "value": "1"},
    ]
    if spec.cpu is not None:
        gibibytes = spec.cpu.kv_cache_size.removesuffix("Gi")
        environment.append({"name": "VLLM_CPU_KVCACHE_SPACE", "value": gibibytes})
    # None of them is one of ours: repository/environment.py.
    given: list[Json] = [{"name": variable.name, "value": variable.value} for variable in spec.env or ()]
    return environment + given


def _build_resources(spec: LLMDeploymentSpec) -> Json:
    resources = build_resources(spec.resources)
    if spec.gpu_resource is not None:
        # Extended resources cannot be overcommitted: the request follows from the limit.
        resources.setdefault("limits", {})[spec.gpu_resource] = str(spec.engine.gpus)
    return dict(resources)


def _build_volumes(inputs: PodInputs) -> list[Json]:
    items = [
        {"key": key, "path": key if key == KEY_CONFIG else f"1/{key}"} for key in repository_files(inputs.repository)
    ]
    config_map = repository_name(inputs.instance, inputs.repository)
    return [
        {"name": "repository", "configMap": {"name": config_map, "items": items}},
        *map(build_volume, place_sources(inputs.spec)),
        *_build_cache(inputs.spec.cache),
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": shared_memory_size(inputs.spec)}},
        {"name": "tmp", "emptyDir": {}},
    ]


def _build_cache(cache: CompileCache | None) -> list[Json]:
    if cache is None:
        return []
    claim = {"claimName": cache.persistent_volume_claim.claim_name}
    return [{"name": names.CACHE_VOLUME, "persistentVolumeClaim": claim}]


def shared_memory_size(spec: LLMDeploymentSpec) -> str:
    """The size of /dev/shm. The ranks of an engine on several GPUs talk through it."""
    if spec.shared_memory_size is not None:
        return spec.shared_memory_size
    ranks = spec.engine.gpus
    return "1Gi" if ranks == 1 else f"{2 * ranks}Gi"


def _build_scheduling(scheduling: Scheduling, instance: str) -> Json:
    built = scheduling.model_dump(mode="json", by_alias=True, exclude_none=True)
    if scheduling.topology_spread_constraints:
        own = LabelSelector(match_labels=names.child_labels(instance))
        built["topologySpreadConstraints"] = [
            _with_selector(constraint, own) for constraint in scheduling.topology_spread_constraints
        ]
    return built


def _with_selector(constraint: TopologySpreadConstraint, own: LabelSelector) -> Json:
    selected = constraint.model_copy(update={"label_selector": constraint.label_selector or own})
    return selected.model_dump(mode="json", by_alias=True, exclude_none=True)
