"""The containers that run the program of images/model-tools: before the Deployment, and before the engine."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from triton_vllm_operator.api import names
from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.platform import Pods, Proxy
from triton_vllm_operator.api.pods import PodMetadata
from triton_vllm_operator.api.scheduling import Resources, Scheduling
from triton_vllm_operator.api.spec import LLMDeploymentSpec
from triton_vllm_operator.manifests.identity import Owner
from triton_vllm_operator.manifests.job import Purpose, build_job
from triton_vllm_operator.manifests.security import CONTAINER_SECURITY, build_pod_security, build_user_variables
from triton_vllm_operator.manifests.sources import (
    Commits,
    Placed,
    build_source_variables,
    build_task,
    build_volume,
    place_sources,
)
from triton_vllm_operator.manifests.start import PROGRAMS, find_programs
from triton_vllm_operator.sources.report import EXIT_FAULT
from triton_vllm_operator.sources.task import CA_BUNDLE_VARIABLE, PROGRAMS_VARIABLE, SHAPED, Action, TaskList

# Requests equal to limits, of all that a quota may count: a namespace with a LimitRange's ratio takes them too.
_FETCH_RESOURCES: Final = {"cpu": "1", "memory": "2Gi", "ephemeral-storage": "1Gi"}
_LOOK_UP_RESOURCES: Final = {"cpu": "250m", "memory": "512Mi", "ephemeral-storage": "256Mi"}
_RETRIES: Final = 6
_PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"


def needs_fetch(spec: LLMDeploymentSpec) -> bool:
    """Whether a Job must resolve or fetch something before there can be a revision."""
    return any(placed.source.hugging_face is not None for placed in place_sources(spec))


def kept_sources(spec: LLMDeploymentSpec) -> tuple[Placed, ...]:
    """The sources that are fetched to volumes, once for all pods."""
    return tuple(placed for placed in place_sources(spec) if _is_kept(placed))


def build_pod_metadata(spec: LLMDeploymentSpec, labels: dict[str, str]) -> Json:
    """The metadata of a pod template: what the user hangs on all pods, and over it our own labels."""
    given = spec.pod_metadata or PodMetadata()
    annotations = {"annotations": dict(given.annotations)} if given.annotations else {}
    return {"labels": {**(given.labels or {}), **labels}, **annotations}


def build_resources(resources: Resources | None) -> dict[str, dict[str, str]]:
    """Requests and limits, as far as they are set."""
    given = resources or Resources()
    parts = {"requests": given.requests, "limits": given.limits}
    return {name: dict(part) for name, part in parts.items() if part}


def build_prepare_container(spec: LLMDeploymentSpec, vllm: str, pods: Pods, commits: Commits) -> Json:
    """The init container: fetches what is kept in the pod, checks what lies on volumes, also what a Job put there.

    It asks for what the serving container asks for, which costs nothing: the scheduler counts the larger of the two,
    and what a quota or a LimitRange lets pass for the one it lets pass for the other.
    """
    placed = place_sources(spec)
    fetched = {source.volume for source in placed if source.source.hugging_face is not None and not _is_kept(source)}
    tasks = TaskList(
        tasks=tuple(
            build_task(source, Action.FETCH if source.volume in fetched else Action.CHECK, spec, vllm, commits)
            for source in placed
        )
    )
    mounts: list[Json] = [
        {"name": source.volume, "mountPath": source.mount, "readOnly": source.volume not in fetched}
        for source in placed
    ]
    asking = tuple(source for source in placed if source.volume in fetched)
    built = _build_container(names.PREPARE_CONTAINER, pods, tasks, asking, mounts, build_resources(spec.resources))
    if not find_programs(spec, vllm):
        return built
    environment = built["env"]
    assert isinstance(environment, list)
    return {**built, "env": [*environment, {"name": PROGRAMS_VARIABLE, "value": PROGRAMS}]}


def build_fetch_job(
    owner: Owner, spec: LLMDeploymentSpec, vllm: str, pods: Pods, known: Commits, inspects: bool = False
) -> Json:
    """The Job that resolves every repository of the spec, and fetches those that are kept on volumes.

    What `known` holds was resolved before and is looked up by its commit. `inspects` is whether it looks into a model
    in an image or on a claim as well: an image that it pulls to a node serves the serving pods there too.

    It runs where the serving pods may run, so that a volume is bound to a zone that they can reach, but needs no GPU.
    """
    content: Json = {
        "backoffLimit": _RETRIES,
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": names.FETCH_CONTAINER, "operator": "In", "values": [EXIT_FAULT]},
                },
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]
        },
        "template": {
            "metadata": build_pod_metadata(spec, names.fetch_labels(owner.name)),
            "spec": _build_fetch_pod(owner, spec, vllm, pods, known, inspects),
        },
    }
    return build_job(owner, Purpose.FETCH if kept_sources(spec) else Purpose.LOOK, content)


def _build_fetch_pod(
    owner: Owner, spec: LLMDeploymentSpec, vllm: str, pods: Pods, known: Commits, inspects: bool
) -> Json:
    placed = place_sources(spec)
    inspected = [each for each in placed if inspects and each.role in SHAPED and each.source.hugging_face is None]
    wanted = [each for each in placed if each.source.hugging_face is not None]
    kept = kept_sources(spec)
    tasks = TaskList(
        tasks=(
            *(build_task(each, Action.CHECK, spec, vllm, known) for each in inspected),
            *(
                build_task(each, Action.FETCH if _is_kept(each) else Action.INSPECT, spec, vllm, known)
                for each in wanted
            ),
        )
    )
    mounts: list[Json] = [{"name": each.volume, "mountPath": each.mount} for each in kept]
    mounts += [{"name": each.volume, "mountPath": each.mount, "readOnly": True} for each in inspected]
    on_claims = [*kept, *(each for each in inspected if each.source.persistent_volume_claim is not None)]
    default = _FETCH_RESOURCES if kept else _LOOK_UP_RESOURCES
    resources = build_resources(spec.fetch.resources if spec.fetch else None) or {
        "requests": dict(default),
        "limits": dict(default),
    }
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        **({"serviceAccountName": account} if (account := spec.service_account_name) else {}),
        "securityContext": build_pod_security(pods.set_user),
        "containers": [_build_container(names.FETCH_CONTAINER, pods, tasks, wanted, mounts, resources)],
        "volumes": [*map(build_volume, (*kept, *inspected)), {"name": "tmp", "emptyDir": {}}],
        **_build_scheduling(spec, owner.name if on_claims else None, near_gpus=bool(inspected)),
    }


def _is_kept(placed: Placed) -> bool:
    """Whether the source is fetched to a volume, once for all pods."""
    hub = placed.source.hugging_face
    return hub is not None and hub.claim_name is not None


def _build_container(
    name: str,
    pods: Pods,
    tasks: TaskList,
    placed: Iterable[Placed],
    mounts: list[Json],
    resources: Mapping[str, object],
) -> Json:
    sources = tuple(placed)
    return {
        "name": name,
        "image": pods.tools_image,
        # Kubernetes replaces $(NAME) in arguments, and NAME could be a token's.
        "args": [tasks.model_dump_json(by_alias=True, exclude_none=True).replace("$", "$$")],
        "env": [*_build_environment(sources, pods), *build_source_variables(sources)],
        **({"resources": dict(resources)} if resources else {}),
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [*mounts, {"name": "tmp", "mountPath": "/tmp"}],
    }


def _build_environment(placed: tuple[Placed, ...], pods: Pods) -> list[Json]:
    hubs = [source.source.hugging_face for source in placed if source.source.hugging_face]
    environment: list[Json] = build_user_variables()
    if not hubs:
        return environment
    proxies = _build_proxies(pods.proxy)
    if proxies or pods.ca_bundle or any(hub.endpoint or hub.offline for hub in hubs):
        # Xet asks servers of its own, which a mirror does not stand for, and which a proxy may not know.
        environment.append({"name": "HF_HUB_DISABLE_XET", "value": "1"})
    if pods.ca_bundle:
        environment.append({"name": CA_BUNDLE_VARIABLE, "value": pods.ca_bundle})
    return [*environment, *proxies]


def _build_proxies(proxy: Proxy) -> list[Json]:
    """In both spellings: there is no rule which one a program reads."""
    given = {"http_proxy": proxy.http, "https_proxy": proxy.https}
    found = {name: value for name, value in given.items() if value}
    if found and proxy.no_proxy:
        found["no_proxy"] = proxy.no_proxy
    return [{"name": name, "value": value} for key, value in found.items() for name in (key, key.upper())]


def _build_scheduling(spec: LLMDeploymentSpec, instance: str | None, near_gpus: bool) -> Json:
    """`instance` is whose pods may hold the volume already; `near_gpus`: where serving pods of GPUs may come to run."""
    scheduling = spec.scheduling or Scheduling()
    # Rules between serving pods do not hold for this one: anti-affinity to them could keep it from every node.
    left_out: dict[str, bool | set[str]] = {
        "tolerations": True,
        "topology_spread_constraints": True,
        "runtime_class_name": True,
        "affinity": {"pod_affinity", "pod_anti_affinity"},
    }
    built: dict[str, Any] = scheduling.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=left_out)
    if instance is not None:
        built["affinity"] = {**built.get("affinity", {}), "podAffinity": _near_the_pods(instance)}
    if near_gpus and spec.gpu_resource is not None:
        built["affinity"] = _prefer_gpus(built.get("affinity", {}))
    tolerations = [t.model_dump(mode="json", by_alias=True, exclude_none=True) for t in scheduling.tolerations or ()]
    tolerations += tolerate_gpus(spec.gpu_resource)
    return {**built, "tolerations": tolerations} if tolerations else built


def tolerate_gpus(resource: str | None) -> list[Json]:
    """What Kubernetes gives a pod that asks for GPUs by itself, for one beside it that asks for none.

    https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#extendedresourcetoleration
    """
    return [{"key": resource, "operator": "Exists", "effect": "NoSchedule"}] if resource is not None else []


def _prefer_gpus(affinity: Json) -> Json:
    """An image is pulled once, if to a node with GPUs; what the user prefers counts beside it."""
    own = affinity.get("nodeAffinity")
    given = own if isinstance(own, dict) else {}
    preferred = given.get(_PREFERRED)
    term = {"weight": 100, "preference": {"matchExpressions": [{"key": names.GPU_PRODUCT_LABEL, "operator": "Exists"}]}}
    terms = [*(preferred if isinstance(preferred, list) else ()), term]
    return {**affinity, "nodeAffinity": {**given, _PREFERRED: terms}}


def _near_the_pods(instance: str) -> Json:
    """A ReadWriteOnce volume that they hold can be had on their node alone."""
    selector = {"matchLabels": names.child_labels(instance)}
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": selector}
    return {_PREFERRED: [{"weight": 100, "podAffinityTerm": term}]}
