"""The children of an LLMDeployment: which are to be there, which of them are written, and which are pruned. Pure."""

from typing import Final

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.rollout import RolloutWay
from triton_vllm_operator.kube.resources import CONFIG_MAP, JOB, POD, REVISION, SERVICE, kind_of, name_of
from triton_vllm_operator.manifests.config_map import build_config_map, repository_name
from triton_vllm_operator.manifests.deployment import build_deployment
from triton_vllm_operator.manifests.disruption_budget import build_disruption_budget
from triton_vllm_operator.manifests.identity import Owner
from triton_vllm_operator.manifests.job import Purpose, is_for
from triton_vllm_operator.manifests.revision import Revision, build_controller_revision
from triton_vllm_operator.manifests.service import build_service, is_headless
from triton_vllm_operator.reconcile.drift import differs
from triton_vllm_operator.reconcile.live import Live
from triton_vllm_operator.reconcile.model import Child, Observed, Write
from triton_vllm_operator.reconcile.plan import Plan

_KEPT_REVISIONS: Final = 10
KEPT_FAILED: Final = 5


def build_children(
    owner: Owner, revision: Revision, live: Live, is_guarded: bool, way: RolloutWay = RolloutWay.SURGE, surge: int = 1
) -> tuple[Json, ...]:
    """The children of a revision in the order in which they are applied.

    The Service is first: a name that is taken must be noticed before a pod is made. The revision is last:
    it says that the API server has taken everything that its pods need.
    """
    deadline = live.probe.startup_deadline_seconds
    return (
        build_service(owner, live.service),
        build_config_map(owner, revision.repository),
        build_deployment(owner, revision.hash, revision.pod_template, live.replicas, deadline, way, surge),
        build_controller_revision(owner, revision),
        *([build_disruption_budget(owner)] if is_guarded else []),
    )


def find_writes(observed: Observed, plan: Plan, wanted: tuple[Json, ...]) -> tuple[Write, ...]:
    """What of the wanted children is not there, or differs."""
    if observed.newest_unreadable is not None:
        return ()
    found = {(child.kind, child.name): child for child in observed.children}
    pending: list[Write] = []
    for manifest in wanted:
        if f"{manifest['kind']} {name_of(manifest)}" in observed.foreign:
            continue
        there = found.get((kind_of(manifest), name_of(manifest)))
        if there is None:
            is_optional = kind_of(manifest) == JOB and is_for(name_of(manifest), Purpose.PULL)
            pending.append(Write(manifest, None, is_optional))
        elif plan.live.leaves_service and there.kind == SERVICE:
            continue
        elif _must_be_made_anew(manifest, there):
            # It is pruned now; the next look finds its name free.
            continue
        elif differs(manifest, there.body):
            pending.append(Write(manifest, there.uid))
    return tuple(pending)


def find_prunes(observed: Observed, plan: Plan, wanted: tuple[Json, ...]) -> tuple[Child, ...]:
    """Our children that nothing uses: not wanted, and of no kept revision and no pod."""
    if observed.newest_unreadable is not None:
        return ()
    if not wanted:
        return observed.children_of(JOB)
    kept_revisions = _kept_revisions(observed)
    kept = {(kind_of(manifest), name_of(manifest)) for manifest in wanted}
    kept |= {(REVISION, revision.name) for revision in kept_revisions}
    kept |= {
        (CONFIG_MAP, repository_name(observed.resource.owner.name, revision.repository)) for revision in kept_revisions
    }
    anew = {(kind_of(manifest), name_of(manifest)): manifest for manifest in wanted}
    if plan.live.leaves_service:
        anew = {there: manifest for there, manifest in anew.items() if there[0] != SERVICE}
    # What a revision that cannot be read needs is not known.
    stay = (REVISION, CONFIG_MAP) if observed.unreadable else ()
    return tuple(
        child
        for child in observed.children
        if child.kind not in stay
        and (
            (there := (child.kind, child.name)) not in kept
            or (there in anew and _must_be_made_anew(anew[there], child))
        )
    )


def find_litter(observed: Observed) -> tuple[Child, ...]:
    """Failed pods but the newest: a node that refuses each pod that it is given makes one a second.

    Kubernetes itself collects them from the 12,500th on.
    """
    if observed.newest_unreadable is not None:
        return ()
    failed = (pod for pod in observed.pods if pod.phase == "Failed" and not pod.terminating)
    oldest_first = sorted((pod.created_at, pod.name, pod.uid) for pod in failed if pod.created_at is not None)
    return tuple(Child(POD, name, uid, {}) for _, name, uid in oldest_first[:-KEPT_FAILED])


def _must_be_made_anew(manifest: Json, there: Child) -> bool:
    """Whether Kubernetes would refuse the change: a Service keeps its address, or that it has none."""
    return there.kind == SERVICE and is_headless(manifest) != is_headless(there.body)


def _kept_revisions(observed: Observed) -> list[Revision]:
    newest_first = sorted(observed.revisions, key=lambda revision: -revision.number)
    used, named = {pod.revision for pod in observed.pods}, _named_revisions(observed)
    return [r for place, r in enumerate(newest_first) if place < _KEPT_REVISIONS or r.hash in used or r.name in named]


def _named_revisions(observed: Observed) -> set[str | None]:
    """Those that one may go back to, however many have failed since."""
    status = observed.resource.status
    return {status.generated, *(status.generated_before or ()), status.rollback.to if status.rollback else None}
