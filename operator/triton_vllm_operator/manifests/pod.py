"""The pod template: Triton with vLLM, locked down, with the model repository and the weights."""

from dataclasses import dataclass
from typing import Final

from triton_vllm_operator.api import names
from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.model import ModelSource
from triton_vllm_operator.api.scheduling import LabelSelector, Scheduling, TopologySpreadConstraint
from triton_vllm_operator.api.spec import LLMDeploymentSpec
from triton_vllm_operator.manifests.config_map import KEY_CONFIG, repository_files, repository_name
from triton_vllm_operator.repository.content import Places, Repository

WEIGHTS: Final = "/weights"
DRAFT: Final = "/draft"
ADAPTERS: Final = "/adapters"
REPOSITORY: Final = "/models"

# A pod leaves the Service when it is deleted; this is the time that takes to reach every node.
_PRE_STOP_SECONDS: Final = 5
# Triton waits this long for requests under way, then the engine needs some seconds to end.
_EXIT_TIMEOUT_SECONDS: Final = 60
_GRACE_SECONDS: Final = _PRE_STOP_SECONDS + _EXIT_TIMEOUT_SECONDS + 15

# Whoever can call these endpoints can load code into the server:
# https://github.com/triton-inference-server/server/blob/main/docs/customization_guide/deploy.md
_RESTRICTED: Final = "model-repository,shared-memory,trace"
_RUN_AS: Final = 1000


@dataclass(frozen=True, slots=True)
class PodInputs:
    """Everything that a pod template is made from."""

    instance: str
    served_name: str
    image: str
    repository: Repository
    spec: LLMDeploymentSpec


def find_places(spec: LLMDeploymentSpec) -> Places:
    """Where the container finds the weights, the draft model and the adapters."""
    draft = _draft(spec)
    return Places(
        model=_inside(WEIGHTS, spec.model),
        draft=_inside(DRAFT, draft) if draft else None,
        adapters={adapter.name: _inside(f"{ADAPTERS}/{adapter.name}", adapter) for adapter in spec.model.adapters},
    )


def _inside(mount: str, source: ModelSource) -> str:
    return f"{mount}/{source.path}" if source.path else mount


def _draft(spec: LLMDeploymentSpec) -> ModelSource | None:
    speculative = spec.engine.speculative_config
    return speculative.model if speculative else None


def _sources(spec: LLMDeploymentSpec) -> list[tuple[str, str, ModelSource]]:
    """Volume, mount path and source of everything that is read from a source."""
    draft = _draft(spec)
    adapters = enumerate(spec.model.adapters)
    return [
        ("weights", WEIGHTS, spec.model),
        *([("draft", DRAFT, draft)] if draft else []),
        *((f"adapter-{number}", f"{ADAPTERS}/{adapter.name}", adapter) for number, adapter in adapters),
    ]


def build_pod_template(inputs: PodInputs) -> Json:
    """The pod template, without the label that names its revision."""
    scheduling = inputs.spec.scheduling or Scheduling()
    spec: Json = {
        "readinessGates": [{"conditionType": names.READINESS_GATE}],
        "automountServiceAccountToken": False,
        # A Service called "vllm" would set VLLM_PORT in every pod, which vLLM reads as its own.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _RUN_AS,
            "runAsGroup": _RUN_AS,
            "fsGroup": _RUN_AS,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_build_container(inputs)],
        "volumes": _build_volumes(inputs),
        **_build_scheduling(scheduling, inputs.instance),
    }
    return {"metadata": {"labels": names.child_labels(inputs.instance)}, "spec": spec}


def _build_container(inputs: PodInputs) -> Json:
    return {
        "name": names.CONTAINER,
        "image": inputs.image,
        "args": _build_arguments(),
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
        "lifecycle": {"preStop": {"sleep": {"seconds": _PRE_STOP_SECONDS}}},
        "resources": _build_resources(inputs.spec),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": _build_mounts(inputs),
    }


def _build_mounts(inputs: PodInputs) -> list[Json]:
    return [
        {"name": "repository", "mountPath": f"{REPOSITORY}/{inputs.served_name}", "readOnly": True},
        *({"name": name, "mountPath": path, "readOnly": True} for name, path, _ in _sources(inputs.spec)),
        {"name": "shm", "mountPath": "/dev/shm"},
        {"name": "tmp", "mountPath": "/tmp"},
    ]


def _build_arguments() -> list[str]:
    restricted = f"{_RESTRICTED}:triton-vllm-operator=$(POD_UID)"
    return [
        "tritonserver",
        f"--model-repository={REPOSITORY}",
        "--model-control-mode=none",
        f"--exit-timeout-secs={_EXIT_TIMEOUT_SECONDS}",
        f"--http-restricted-api={restricted}",
        f"--grpc-restricted-protocol={restricted}",
    ]


def _build_environment(spec: LLMDeploymentSpec) -> list[Json]:
    environment: list[Json] = [
        {"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        {"name": "HOME", "value": "/tmp"},
        {"name": "HF_HUB_OFFLINE", "value": "1"},
        {"name": "VLLM_NO_USAGE_STATS", "value": "1"},
    ]
    if spec.accelerator is not None and spec.accelerator.cpu is not None:
        gibibytes = spec.accelerator.cpu.kv_cache_size.removesuffix("Gi")
        environment.append({"name": "VLLM_CPU_KVCACHE_SPACE", "value": gibibytes})
    return environment


def _build_resources(spec: LLMDeploymentSpec) -> Json:
    resources = spec.resources
    requests: Json = dict(resources.requests or {}) if resources else {}
    limits: Json = dict(resources.limits or {}) if resources else {}
    if spec.gpu_resource is not None:
        # Extended resources cannot be overcommitted: the request follows from the limit.
        limits[spec.gpu_resource] = str(spec.engine.gpus)
    built = {"requests": requests, "limits": limits}
    return {name: value for name, value in built.items() if value}


def _build_volumes(inputs: PodInputs) -> list[Json]:
    items = [
        {"key": key, "path": key if key == KEY_CONFIG else f"1/{key}"} for key in repository_files(inputs.repository)
    ]
    config_map = repository_name(inputs.instance, inputs.repository)
    return [
        {"name": "repository", "configMap": {"name": config_map, "items": items}},
        *(_build_weights(name, source) for name, _, source in _sources(inputs.spec)),
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": shared_memory_size(inputs.spec)}},
        {"name": "tmp", "emptyDir": {}},
    ]


def _build_weights(name: str, source: ModelSource) -> Json:
    if source.image is not None:
        image: Json = {"reference": source.image.reference}
        if source.image.pull_policy is not None:
            image["pullPolicy"] = source.image.pull_policy.value
        return {"name": name, "image": image}
    assert source.persistent_volume_claim is not None, "a rule of ModelSource: it has one source"
    claim = source.persistent_volume_claim.claim_name
    return {"name": name, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}


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
