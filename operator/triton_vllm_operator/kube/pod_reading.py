"""A pod as the API server has it, read."""

from datetime import datetime
from typing import Any, Final

from triton_vllm_operator.api import names
from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.kube.pod import (
    ADAPTER_FAULT,
    GATE_SEPARATOR,
    NEVER_GENERATED,
    VARIED_PROOF,
    Ended,
    Gate,
    Image,
    Pod,
)
from triton_vllm_operator.kube.resources import as_dict, as_list, controller_of, metadata_of, name_of, time_of

_WARNING: Final = '"warning"'


def project_pod(body: Json) -> Pod:
    """The projection of a pod as the API server has it."""
    metadata, status = metadata_of(body), as_dict(body.get("status"))
    conditions = {c["type"]: c for c in as_list(status.get("conditions"))}
    container = _container(status, "containerStatuses", (names.CONTAINER, names.FETCH_CONTAINER))
    prepare = _container(status, "initContainerStatuses", (names.PREPARE_CONTAINER,))
    state = as_dict(container.get("state"))
    # Until the weights are there the serving container waits for the init container, which says why.
    waiting = as_dict(as_dict(prepare.get("state")).get("waiting")) or as_dict(state.get("waiting"))
    scheduled, open_port = as_dict(conditions.get("PodScheduled")), as_dict(conditions.get("ContainersReady"))
    labels = as_dict(metadata.get("labels"))
    return Pod(
        name=name_of(body),
        uid=str(metadata.get("uid")),
        revision=str(labels.get(names.LABEL_REVISION, "")),
        template=str(labels.get("pod-template-hash", "")),
        terminating="deletionTimestamp" in metadata,
        phase=str(status.get("phase", "Pending")),
        phase_reason=str(status.get("reason") or ""),
        phase_message=str(status.get("message") or status.get("reason") or ""),
        disruption=_disruption(as_dict(conditions.get("DisruptionTarget"))),
        ends_at=time_of(metadata.get("deletionTimestamp")),
        ip=status.get("podIP"),
        ready=as_dict(conditions.get("Ready")).get("status") == "True",
        gate=_gate(conditions.get(names.READINESS_GATE)),
        container_id=str(container.get("containerID", "")),
        running="running" in state,
        waiting_reason=str(waiting.get("reason", "")),
        waiting_message=str(waiting.get("message", "")),
        awaited_image=_awaited_image(as_dict(body.get("spec")), str(waiting.get("message", ""))),
        ended=_last_end(container),
        unhealthy_devices=_unhealthy_devices(container),
        restarts=int(container.get("restartCount", 0)),
        unschedulable=str(scheduled.get("message", "")) if scheduled.get("status") == "False" else "",
        created_at=time_of(metadata.get("creationTimestamp")),
        scheduled_at=_true_since(scheduled),
        initialized_at=_true_since(as_dict(conditions.get("Initialized"))),
        containers_ready_at=_true_since(open_port),
        started_at=time_of(as_dict(state.get("running")).get("startedAt")),
        prepare_began=_began(prepare),
        generates_since=_true_since(as_dict(conditions.get(names.READINESS_GATE))),
        node=str(as_dict(body.get("spec")).get("nodeName") or ""),
        waits_first=_waits_first(as_dict(body.get("spec"))),
        deletion_cost=_deletion_cost(metadata),
        job_uid=_job_uid(body),
        prepares="running" in as_dict(prepare.get("state")),
        prepared=_warning_of(_last_end(prepare)),
        unprepared=end if (end := _last_end(prepare)) is not None and end.exit_code != 0 else None,
    )


def _warning_of(end: Ended | None) -> str:
    return end.message if end is not None and end.exit_code == 0 and _WARNING in end.message else ""


def _awaited_image(spec: dict[str, Any], message: str) -> Image | None:
    """The image of the pod that a kubelet's message names; the longest, if the name of one holds that of another."""
    if not message:
        return None
    volumes = [
        (as_dict(volume.get("image")).get("reference"), volume["name"]) for volume in as_list(spec.get("volumes"))
    ]
    containers = [*as_list(spec.get("initContainers")), *as_list(spec.get("containers"))]
    images = [*volumes, *((container.get("image"), container["name"]) for container in containers)]
    mounts = [mount for container in containers for mount in as_list(container.get("volumeMounts"))]
    adapters = {mount["name"]: _adapter_at(str(mount.get("mountPath"))) for mount in mounts}
    found = [
        Image(reference, holder, adapters.get(holder, ""))
        for reference, holder in images
        if reference and reference in message
    ]
    return max(found, key=lambda image: len(image.reference), default=None)


def _adapter_at(path: str) -> str:
    return path.removeprefix(f"{names.ADAPTERS}/") if path.startswith(f"{names.ADAPTERS}/") else ""


def _container(status: dict[str, Any], key: str, wanted: tuple[str, ...]) -> dict[str, Any]:
    return next((c for c in as_list(status.get(key)) if c["name"] in wanted), {})


def _unhealthy_devices(container: dict[str, Any]) -> tuple[str, ...]:
    """https://github.com/kubernetes/enhancements/tree/master/keps/sig-node/4680-add-resource-health-to-pod-status."""
    return tuple(
        f"{resource.get('name')} {device.get('resourceID')}"
        for resource in as_list(container.get("allocatedResourcesStatus"))
        for device in as_list(resource.get("resources"))
        if device.get("health") == "Unhealthy"
    )


def _last_end(container: dict[str, Any]) -> Ended | None:
    state, last = as_dict(container.get("state")), as_dict(container.get("lastState"))
    return _ended(state.get("terminated") or last.get("terminated"))


def _job_uid(body: Json) -> str:
    owner = controller_of(body)
    return str(owner.get("uid")) if owner.get("kind") == "Job" else ""


def _gate(condition: Any) -> Gate | None:
    if not condition:
        return None
    container_id, _, text = str(condition.get("message", "")).partition(GATE_SEPARATOR)
    generates = condition["status"] == "True"
    has_generated = generates or not text.startswith(NEVER_GENERATED)
    detail = "" if generates else text.removeprefix(NEVER_GENERATED)
    adapter_faults = tuple(text.split(ADAPTER_FAULT)[1:]) if generates else ()
    reason = str(condition.get("reason", ""))
    # What was found degenerate was held against a first proof that was none.
    was_varied = (generates and text.startswith(VARIED_PROOF)) or reason == Reason.DEGENERATE_ANSWER
    return Gate(generates, reason, container_id, has_generated, detail, adapter_faults, was_varied)


def _ended(terminated: Any) -> Ended | None:
    if not terminated:
        return None
    return Ended(
        reason=str(terminated.get("reason", "")),
        exit_code=int(terminated.get("exitCode", 0)),
        message=str(terminated.get("message", "")),
        finished_at=str(terminated.get("finishedAt", "")),
        container_id=str(terminated.get("containerID", "")),
    )


def _disruption(condition: dict[str, Any]) -> str:
    """https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions."""
    if condition.get("status") != "True":
        return ""
    return f"{condition.get('reason', '')}: {condition.get('message', '')}"


def _deletion_cost(metadata: dict[str, Any]) -> int | None:
    try:
        return int(as_dict(metadata.get("annotations"))[names.ANNOTATION_DELETION_COST])
    except (KeyError, ValueError):
        return None


def _waits_first(spec: dict[str, Any]) -> bool:
    """Whether what its container runs begins with the program that waits."""
    container = next((each for each in as_list(spec.get("containers")) if each.get("name") == names.CONTAINER), {})
    arguments = container.get("args")
    return isinstance(arguments, list) and any(names.WAIT_PROGRAM in str(each) for each in arguments[:3])


def _true_since(condition: dict[str, Any]) -> datetime | None:
    return time_of(condition.get("lastTransitionTime")) if condition.get("status") == "True" else None


def _began(container: dict[str, Any]) -> datetime | None:
    state = as_dict(container.get("state"))
    return time_of(as_dict(state.get("running") or state.get("terminated")).get("startedAt"))


def image_volumes(body: Json) -> frozenset[str]:
    """The names of the volumes of a pod template that are images."""
    pod = as_dict(as_dict(as_dict(body.get("spec")).get("template")).get("spec"))
    return frozenset(str(volume["name"]) for volume in as_list(pod.get("volumes")) if volume.get("image"))
