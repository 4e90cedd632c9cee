"""The decision: from what is observed to what is done. Pure, with the clock passed in."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from triton_vllm_operator.api import names
from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.changes import find_changes
from triton_vllm_operator.api.spec import LLMDeploymentSpec, Probe
from triton_vllm_operator.api.status import EngineStatus, LLMDeploymentStatus, ModelStatus, RunningEngine
from triton_vllm_operator.health.failures import Problem
from triton_vllm_operator.health.running import (
    find_config_differences,
    find_engine_differences,
    parse_engine_line,
)
from triton_vllm_operator.health.target import ProbeTarget
from triton_vllm_operator.health.verdict import judge
from triton_vllm_operator.kube.resources import CONFIG_MAP, DEPLOYMENT, JOB, REVISION, kind_of, name_of, true_condition
from triton_vllm_operator.manifests.config_map import build_config_map, repository_name
from triton_vllm_operator.manifests.deployment import build_deployment
from triton_vllm_operator.manifests.identity import Owner
from triton_vllm_operator.manifests.revision import Resolved, Revision, build_controller_revision, render_revision
from triton_vllm_operator.manifests.service import build_service, generate_url
from triton_vllm_operator.reconcile.accept import Accepted, NotAccepted, accept
from triton_vllm_operator.reconcile.conditions import (
    Situation,
    find_conditions,
    startup_deadline,
    to_conditions,
    unreachable_from,
)
from triton_vllm_operator.reconcile.drift import differs
from triton_vllm_operator.reconcile.fetching import Fetching, find_fetched
from triton_vllm_operator.reconcile.model import Child, Decision, GatePatch, Observed, Write
from triton_vllm_operator.reconcile.refill import find_refill
from triton_vllm_operator.repository.arguments import load_arguments
from triton_vllm_operator.repository.catalogue import Catalogue
from triton_vllm_operator.sources.report import ModelFacts

_KEPT_REVISIONS: Final = 10
_SHOWN_CHANGES: Final = 3
_SHOWN_DIFFERENCES: Final = 8
_DIFFERENCE_LIMIT: Final = 256
_INSPECT_AGAIN: Final = timedelta(seconds=61)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What should be there."""

    revision: Revision | None
    replicas: int
    probe: Probe
    refused: Problem | None = None
    unchecked: str = ""
    fetching: Fetching | None = None
    """For a spec that is no revision yet, while `revision` is an earlier one; or again, for `revision` itself."""


def decide(observed: Observed, catalogue: Catalogue, now: datetime) -> Decision:
    """What to do about one LLMDeployment."""
    plan = _plan(observed, accept(observed, catalogue), catalogue, now)
    wanted = _children(observed.resource.owner, plan)
    situation = _situation(observed, plan)
    status = _status(observed, plan, situation, now)
    return Decision(
        writes=_to_write(observed, wanted),
        prunes=_to_prune(observed, wanted),
        gates=_gates(observed, plan.probe, now),
        probes=_probes(observed, plan),
        status=None if status == observed.resource.status else status,
        look_again_at=_look_again_at(situation, plan, status, now),
    )


def _plan(observed: Observed, verdict: Accepted | NotAccepted, catalogue: Catalogue, now: datetime) -> _Plan:
    newest = max(observed.revisions, key=lambda revision: revision.number, default=None)
    if isinstance(verdict, NotAccepted):
        # What was accepted last keeps running; what restarts nothing is still taken from the live spec.
        spec = verdict.spec
        replicas = spec.replicas if spec else _live_replicas(observed)
        probe = spec.probe if spec else Probe()
        refill = find_refill(observed, newest, replicas, catalogue.tools_image, now) if newest else None
        return _Plan(newest, replicas, probe, Problem(verdict.reason, verdict.message), fetching=refill)
    spec = verdict.spec
    if verdict.known is not None:
        revision = _again_the_newest(verdict.known, newest)
        refill = find_refill(observed, revision, spec.replicas, catalogue.tools_image, now)
        return _Plan(revision, spec.replicas, spec.probe, unchecked=verdict.unchecked, fetching=refill)
    fetched = find_fetched(observed, spec, newest, catalogue.tools_image, now)
    if isinstance(fetched, Fetching):
        fetching = fetched.beside_others() if any(pod.serves for pod in observed.pods) else fetched
        return _Plan(newest, spec.replicas, spec.probe, unchecked=verdict.unchecked, fetching=fetching)
    resolved = Resolved(spec, verdict.runtime, catalogue.tools_image, fetched.sources)
    revision = render_revision(observed.resource.owner, resolved, newest.number + 1 if newest else 1)
    return _Plan(revision, spec.replicas, spec.probe, unchecked=verdict.unchecked)


def _again_the_newest(known: Revision, newest: Revision | None) -> Revision:
    """An edit that was taken back: the old revision becomes the newest again."""
    if newest is None or known == newest:
        return known
    return replace(known, number=newest.number + 1)


def _live_replicas(observed: Observed) -> int:
    replicas = observed.resource.spec.get("replicas", LLMDeploymentSpec.model_fields["replicas"].default)
    return replicas if isinstance(replicas, int) and replicas >= 0 else 1


def _children(owner: Owner, plan: _Plan) -> tuple[Json, ...]:
    job = (plan.fetching.job,) if plan.fetching is not None and plan.fetching.job is not None else ()
    if plan.revision is not None:
        return (*build_children(owner, plan.revision, plan.replicas, plan.probe), *job)
    # A name that is taken must be noticed before gigabytes are fetched.
    return (build_service(owner), *job) if plan.fetching is not None else ()


def build_children(owner: Owner, revision: Revision, replicas: int, probe: Probe) -> tuple[Json, ...]:
    """The children of a revision in the order in which they are applied.

    The Service is first: a name that is taken must be noticed before a pod is made. The revision is last:
    it says that the API server has taken everything that belongs to it.
    """
    deadline = probe.startup_deadline_seconds
    return (
        build_service(owner),
        build_config_map(owner, revision.repository),
        build_deployment(owner, revision.hash, revision.pod_template, replicas, deadline),
        build_controller_revision(owner, revision),
    )


def _to_write(observed: Observed, wanted: tuple[Json, ...]) -> tuple[Write, ...]:
    found = {(child.kind, child.name): child for child in observed.children}
    pending: list[Write] = []
    for manifest in wanted:
        if f"{manifest['kind']} {name_of(manifest)}" in observed.foreign:
            continue
        there = found.get((kind_of(manifest), name_of(manifest)))
        if there is None:
            pending.append(Write(manifest, None))
        elif differs(manifest, there.body):
            pending.append(Write(manifest, there.uid))
    return tuple(pending)


def _to_prune(observed: Observed, wanted: tuple[Json, ...]) -> tuple[Child, ...]:
    """Our children that nothing uses: not wanted, and of no kept revision and no pod."""
    if not wanted:
        return observed.children_of(JOB)
    kept_revisions = _kept_revisions(observed)
    kept = {(kind_of(manifest), name_of(manifest)) for manifest in wanted}
    kept |= {(REVISION, revision.name) for revision in kept_revisions}
    kept |= {
        (CONFIG_MAP, repository_name(observed.resource.owner.name, revision.repository)) for revision in kept_revisions
    }
    return tuple(child for child in observed.children if (child.kind, child.name) not in kept)


def _kept_revisions(observed: Observed) -> list[Revision]:
    newest_first = sorted(observed.revisions, key=lambda revision: -revision.number)
    used = {pod.revision for pod in observed.pods}
    return [r for place, r in enumerate(newest_first) if place < _KEPT_REVISIONS or r.hash in used]


def _gates(observed: Observed, probe: Probe, now: datetime) -> tuple[GatePatch, ...]:
    verdicts = ((pod, judge(pod, observed.probes.get(pod.uid), probe.failure_threshold)) for pod in observed.pods)
    return tuple(GatePatch(pod.name, pod.uid, state, now) for pod, state in verdicts if state is not None)


def _probes(observed: Observed, plan: _Plan) -> tuple[ProbeTarget, ...]:
    if plan.revision is None:
        return ()
    # The served name never changes, so it is the same in every revision.
    return tuple(
        ProbeTarget(
            pod_uid=pod.uid,
            pod_name=pod.name,
            container_id=pod.container_id,
            ip=pod.ip,
            served_name=plan.revision.served_name,
            settings=plan.probe,
            proven=pod.gate is not None and pod.gate.generates and pod.gate.container_id == pod.container_id,
        )
        for pod in observed.pods
        if pod.running and pod.ip and pod.container_id and not pod.terminating
    )


def _situation(observed: Observed, plan: _Plan) -> Situation:
    return Situation(
        refused=plan.refused,
        unchecked=plan.unchecked,
        waiting=plan.fetching.problem if plan.fetching else None,
        waits_in_vain=plan.fetching is not None and plan.fetching.failed,
        replicas=plan.replicas,
        revision=plan.revision.hash if plan.revision else "",
        pods=observed.pods,
        pods_refused=_pods_refused(observed),
        startup_deadline_seconds=plan.probe.startup_deadline_seconds,
        changed=_changed(observed, plan),
        differences=_differences(observed, plan),
        unreached=frozenset(
            pod.name for pod in observed.pods if (seen := observed.probes.get(pod.uid)) is not None and seen.unreached
        ),
    )


def _changed(observed: Observed, plan: _Plan) -> str:
    if plan.revision is None:
        return ""
    used = {pod.revision for pod in observed.pods} - {plan.revision.hash}
    old = (revision for revision in observed.revisions if revision.hash in used)
    paths = {change.path: None for revision in old for change in find_changes(revision.spec, plan.revision.spec)}
    shown = list(paths)[:_SHOWN_CHANGES]
    return ", ".join([*shown, f"{len(paths) - len(shown)} more"] if len(paths) > len(shown) else shown)


def _differences(observed: Observed, plan: _Plan) -> tuple[str, ...]:
    running = _running_engine(observed, plan.revision) if plan.revision else None
    return (running.differences or ()) if running else ()


def _pods_refused(observed: Observed) -> str:
    for child in observed.children_of(DEPLOYMENT):
        if failure := true_condition(child.body, "ReplicaFailure"):
            return failure.message
    return ""


def _status(observed: Observed, plan: _Plan, situation: Situation, now: datetime) -> LLMDeploymentStatus:
    owner, generation = observed.resource.owner, observed.resource.generation
    findings = find_conditions(situation, now)
    labels = names.child_labels(owner.name)
    return LLMDeploymentStatus(
        conditions=to_conditions(findings, observed.resource.status, generation, now),
        observed_generation=generation,
        url=generate_url(owner, plan.revision.served_name) if plan.revision else None,
        revision=plan.revision.name if plan.revision else None,
        engine=_engine_status(observed, plan.revision) if plan.revision else None,
        model=_model_status(plan.revision) if plan.revision else None,
        replicas=len(situation.alive),
        ready_replicas=sum(pod.serves for pod in situation.current),
        selector=",".join(f"{name}={value}" for name, value in sorted(labels.items())),
    )


def _engine_status(observed: Observed, revision: Revision) -> EngineStatus:
    """With the defaults that vLLM changed between versions."""
    utilization = revision.spec.engine.gpu_memory_utilization
    catalogue = load_arguments(revision.runtime.vllm)
    if utilization is None and catalogue is not None and revision.spec.gpu_resource is not None:
        default = catalogue.arguments["gpu_memory_utilization"].default
        utilization = default if isinstance(default, float) else None
    return EngineStatus(
        vllm_version=revision.runtime.vllm,
        gpu_memory_utilization=utilization,
        running=_running_engine(observed, revision),
    )


def _running_engine(observed: Observed, revision: Revision) -> RunningEngine | None:
    """What was read now, or stands in the status already; None if no engine of this revision was asked yet."""
    before = observed.resource.status
    if (inspection := observed.inspection) is None:
        return before.engine.running if before.engine and before.revision == revision.name else None
    differences = find_config_differences(inspection.model_config)
    if (line := parse_engine_line(inspection.log)) is None:
        return RunningEngine(differences=_shortened(differences))
    differences += find_engine_differences(line, revision.repository.model_json, revision.runtime.vllm)
    return RunningEngine(vllm_version=line.vllm, max_model_len=line.max_model_len, differences=_shortened(differences))


def _shortened(differences: tuple[str, ...]) -> tuple[str, ...] | None:
    return tuple(text[:_DIFFERENCE_LIMIT] for text in differences[:_SHOWN_DIFFERENCES]) or None


def _model_status(revision: Revision) -> ModelStatus | None:
    model = next((source for source in revision.sources if source.volume == names.MODEL_VOLUME), None)
    if model is None:
        return None
    facts = model.facts or ModelFacts()
    return ModelStatus(commit=model.commit, architecture=facts.architecture, weight_bytes=facts.weight_bytes)


def _look_again_at(situation: Situation, plan: _Plan, status: LLMDeploymentStatus, now: datetime) -> datetime | None:
    waiting = [pod for pod in situation.current if not pod.serves]
    moments = [moment(pod, situation) for pod in waiting for moment in (startup_deadline, unreachable_from)]
    if plan.fetching is not None:
        moments.append(plan.fetching.look_again_at)
    if status.engine and not status.engine.running and any(pod.serves for pod in situation.current):
        moments.append(now + _INSPECT_AGAIN)
    return min((moment for moment in moments if moment is not None and moment > now), default=None)
