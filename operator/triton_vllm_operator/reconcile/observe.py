"""Observe: everything that one decision depends on, out of the cache."""

import logging
from dataclasses import replace
from datetime import datetime

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.reasons import ConditionType, Reason
from triton_vllm_operator.api.spec import MemoryPolicy
from triton_vllm_operator.api.status import ConditionStatus, LLMDeploymentStatus
from triton_vllm_operator.api.stored_status import read_status
from triton_vllm_operator.health.failures.pods import wants_words
from triton_vllm_operator.health.inspector import Inspector
from triton_vllm_operator.health.running import Inspection
from triton_vllm_operator.health.watcher import ProbeWatcher
from triton_vllm_operator.kube.budget_lister import BudgetLister, BudgetsSeen
from triton_vllm_operator.kube.cache import Cache
from triton_vllm_operator.kube.client import KubeClient
from triton_vllm_operator.kube.node_lister import NodeLister
from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.kube.resources import (
    CHILDREN,
    DEPLOYMENT,
    JOB,
    SERVICE,
    Key,
    Kind,
    controller_uid,
    is_paused,
    metadata_of,
    name_of,
    time_of,
)
from triton_vllm_operator.manifests.disruption_budget import LEAST_REPLICAS
from triton_vllm_operator.manifests.identity import Owner
from triton_vllm_operator.manifests.revision import Revision, parse_controller_revision
from triton_vllm_operator.reconcile.deadlines import stuck_from, unready_from
from triton_vllm_operator.reconcile.held import is_held, may_wait_for_memory
from triton_vllm_operator.reconcile.learning import wants_to_hear
from triton_vllm_operator.reconcile.model import Child, Observed, Resource, UnreadableRevision

_LOG = logging.getLogger(__name__)

_NAMED_AS_OWNER = (DEPLOYMENT, SERVICE)
"""Children that bear the name of the LLMDeployment, which an object of somebody else may have too."""


async def observe(
    key: Key,
    cache: Cache,
    client: KubeClient,
    probes: ProbeWatcher,
    inspector: Inspector,
    lister: NodeLister,
    budgets: BudgetLister,
    now: datetime,
) -> Observed | None:
    """What there is; None if the LLMDeployment is gone or going.

    Raises:
        ApiError: an object that had our name could not be looked up, or the nodes or budgets not be listed.
    """
    body = cache.resource(key)
    if body is None or "deletionTimestamp" in metadata_of(body):
        return None
    resource = _resource(key, body)
    children, foreign = _cached(key, cache, resource.owner)
    if _had_name_conflict(resource.status):
        foreign += await _look_up_foreign(key, client, resource.owner, children, foreign)
    pods = await _read_held(key, _own_pods(key, cache, resource), inspector, now)
    revisions, unreadable = _revisions(children)
    fetch_pods = tuple(pod for pod in pods if pod.job_uid)
    return Observed(
        resource=resource,
        children=tuple(children),
        foreign=tuple(foreign),
        pods=tuple(pod for pod in pods if not pod.job_uid),
        fetch_pods=fetch_pods,
        progress=await _read_progress(key, inspector, fetch_pods),
        podless=await _read_refusals(key, inspector, children, fetch_pods),
        inspection=await _inspect(key, inspector, resource.status, revisions, pods),
        nodes=await lister.nodes() if _needs_nodes(resource) else None,
        lost_nodes=await _find_lost_nodes(pods, lister, now),
        budgets=await budgets.budgets(key.namespace) if _may_be_guarded(resource) else BudgetsSeen(),
        last_words={pod.name: await inspector.last_words(key.namespace, pod) for pod in pods if wants_words(pod)},
        last_said=await _read_last_said(key, inspector, resource.status, pods),
        probes=probes.histories(key),
        revisions=revisions,
        unreadable=unreadable,
    )


def _own_pods(key: Key, cache: Cache, resource: Resource) -> tuple[Pod, ...]:
    """Without those of an LLMDeployment of the same name that was deleted, and whose pods are not gone yet."""
    began = resource.created_at
    return tuple(pod for pod in cache.pods(key) if began is None or pod.created_at is None or pod.created_at >= began)


async def _read_held(key: Key, pods: tuple[Pod, ...], inspector: Inspector, now: datetime) -> tuple[Pod, ...]:
    """The pods, with what Events say of those that do not start, and their logs of memory that is waited for."""
    return tuple([await _read_waiting(key, pod, inspector, now) for pod in pods])


async def _read_waiting(key: Key, pod: Pod, inspector: Inspector, now: datetime) -> Pod:
    if is_held(pod, now):
        return replace(pod, held=await inspector.why_held(key.namespace, pod, now))
    if may_wait_for_memory(pod, now):
        return replace(pod, waits_for_memory=await inspector.awaited_memory(key.namespace, pod))
    return pod


def _needs_nodes(resource: Resource) -> bool:
    """Whether it may depend on the nodes what becomes of the spec: until all of it generates."""
    accelerator, memory = resource.spec.get("accelerator"), resource.spec.get("memory")
    if isinstance(accelerator, dict) and accelerator.get("cpu") is not None:
        return False
    if isinstance(memory, dict) and memory.get("policy") == MemoryPolicy.OFF:
        return False
    ready, fits = resource.status.condition(ConditionType.READY), resource.status.condition(ConditionType.MEMORY_FITS)
    is_settled = ready is not None and ready.status is ConditionStatus.TRUE
    return not is_settled or fits is None or fits.observed_generation != resource.generation


async def _find_lost_nodes(pods: tuple[Pod, ...], lister: NodeLister, now: datetime) -> dict[str, str]:
    """Of pods that Kubernetes calls not ready although they generate, and of those that do not go."""
    late = ((pod, moment) for pod in pods for moment in (stuck_from(pod), unready_from(pod)))
    asked = {pod.node for pod, moment in late if pod.node and moment is not None and moment <= now}
    if not asked:
        return {}
    return {node.name: node.not_ready for node in (await lister.nodes()).nodes if node.name in asked and node.not_ready}


def _may_be_guarded(resource: Resource) -> bool:
    replicas = resource.spec.get("replicas")
    return isinstance(replicas, int) and replicas >= LEAST_REPLICAS


async def _read_progress(key: Key, inspector: Inspector, fetch_pods: tuple[Pod, ...]) -> dict[str, str]:
    """The last word of each pod that fetches: a log is read only while its pod runs."""
    return {pod.name: await inspector.last_line(key.namespace, pod) for pod in fetch_pods if pod.running}


async def _read_last_said(
    key: Key, inspector: Inspector, status: LLMDeploymentStatus, pods: tuple[Pod, ...]
) -> dict[str, datetime]:
    """Of pods that load, once the status says that one takes too long: such as stand still say nothing any more."""
    progressing = status.condition(ConditionType.PROGRESSING)
    if progressing is None or progressing.reason != Reason.STARTUP_DEADLINE_EXCEEDED:
        return {}
    found = {pod.name: await inspector.last_word(key.namespace, pod) for pod in pods if pod.loads}
    return {name: time for name, time in found.items() if time is not None}


async def _read_refusals(
    key: Key, inspector: Inspector, children: list[Child], fetch_pods: tuple[Pod, ...]
) -> dict[str, str]:
    served = {pod.job_uid for pod in fetch_pods}
    without = [child for child in children if child.kind == JOB and child.uid not in served]
    return {child.name: await inspector.why_no_pod(key.namespace, child.uid) for child in without}


async def _inspect(
    key: Key,
    inspector: Inspector,
    status: LLMDeploymentStatus,
    revisions: tuple[Revision, ...],
    pods: tuple[Pod, ...],
) -> Inspection | None:
    newest = max(revisions, key=lambda revision: revision.number, default=None)
    if newest is None or status.revision != newest.name:
        return None
    serving = [pod for pod in pods if pod.serves and pod.revision == newest.hash]
    asked = next((pod for pod in serving if wants_to_hear(status, pod.name)), None)
    return await inspector.inspect(key.namespace, asked, newest.served_name) if asked else None


def _had_name_conflict(status: LLMDeploymentStatus) -> bool:
    accepted = status.condition(ConditionType.ACCEPTED)
    return accepted is not None and accepted.reason == Reason.NAME_CONFLICT


async def _look_up_foreign(
    key: Key, client: KubeClient, owner: Owner, children: list[Child], known: list[str]
) -> list[str]:
    """Whether the objects of a conflict are still there: the watches see only what carries our labels."""
    foreign = []
    for kind in _NAMED_AS_OWNER:
        label = f"{kind.kind} {key.name}"
        if label in known or any(child.kind == kind and child.name == key.name for child in children):
            continue
        found = await client.get(kind, key.namespace, key.name)
        if found is not None and controller_uid(found) != owner.uid:
            foreign.append(label)
    return foreign


def _resource(key: Key, body: Json) -> Resource:
    metadata = metadata_of(body)
    spec = body.get("spec")
    return Resource(
        owner=Owner(key.namespace, key.name, str(metadata["uid"])),
        generation=int(str(metadata.get("generation", 0))),
        spec=spec if isinstance(spec, dict) else {},
        status=read_status(body.get("status")),
        created_at=time_of(metadata.get("creationTimestamp")),
        paused=is_paused(body),
    )


def _cached(key: Key, cache: Cache, owner: Owner) -> tuple[list[Child], list[str]]:
    """Our children, and the objects that carry our labels without being ours."""
    children: list[Child] = []
    foreign: list[str] = []
    for kind in CHILDREN:
        for body in cache.children(key, kind):
            if controller_uid(body) == owner.uid:
                children.append(_child(kind, body))
            elif kind in _NAMED_AS_OWNER and name_of(body) == key.name:
                foreign.append(f"{kind.kind} {key.name}")
    return children, foreign


def _child(kind: Kind, body: Json) -> Child:
    return Child(kind, name_of(body), str(metadata_of(body)["uid"]), body)


def _revisions(children: list[Child]) -> tuple[tuple[Revision, ...], tuple[UnreadableRevision, ...]]:
    revisions: list[Revision] = []
    unreadable: list[UnreadableRevision] = []
    for child in children:
        if child.kind.kind != "ControllerRevision":
            continue
        try:
            revisions.append(parse_controller_revision(child.name, child.body))
        except ValueError as error:
            _LOG.warning("a stored revision cannot be read: %s", error)
            number = child.body.get("revision")
            unreadable.append(UnreadableRevision(child.name, number if isinstance(number, int) else 0, str(error)))
    return tuple(revisions), tuple(unreadable)
