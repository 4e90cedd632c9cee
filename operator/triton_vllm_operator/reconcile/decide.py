"""The decision: from what is observed to what is done. Pure, with the clock passed in."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.changes import find_changes
from triton_vllm_operator.api.reasons import ConditionType, Reason
from triton_vllm_operator.api.spec import Probe
from triton_vllm_operator.api.status import LLMDeploymentStatus
from triton_vllm_operator.api.stopped import StoppedStatus
from triton_vllm_operator.health.target import ProbeTarget
from triton_vllm_operator.health.verdict import CUT_OFF, PROOFS, ProbeHistory, judge
from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.manifests.service import build_service
from triton_vllm_operator.reconcile.children import build_children, find_litter, find_prunes, find_writes
from triton_vllm_operator.reconcile.deadlines import (
    late_from,
    refusal_deadline,
    startup_deadline,
    stuck_from,
    unreachable_from,
    unready_from,
)
from triton_vllm_operator.reconcile.disruption import is_guarded
from triton_vllm_operator.reconcile.held import ask_again_at
from triton_vllm_operator.reconcile.holding import find_hold
from triton_vllm_operator.reconcile.learning import compare_now, find_news
from triton_vllm_operator.reconcile.model import Decision, GatePatch, Observed
from triton_vllm_operator.reconcile.pausing import as_it_runs, find_held_back, stop_rollout
from triton_vllm_operator.reconcile.plan import Plan, make_plan
from triton_vllm_operator.reconcile.recovery import Recovered, Terms, decide_recovery, open_replacement
from triton_vllm_operator.reconcile.refused import find_refusal, say_refusal
from triton_vllm_operator.reconcile.remarks import find_differences, find_warnings
from triton_vllm_operator.reconcile.rollback import find_rollback, generation_deadline, roll_back
from triton_vllm_operator.reconcile.rolling import find_step
from triton_vllm_operator.reconcile.scaling import Costs, find_costs
from triton_vllm_operator.reconcile.situation import Finding, Situation
from triton_vllm_operator.reconcile.status import build_status
from triton_vllm_operator.reconcile.stopping import find_stopped
from triton_vllm_operator.reconcile.story import find_story
from triton_vllm_operator.reconcile.timeline import find_weight_bytes
from triton_vllm_operator.repository.catalogue import Catalogue
from triton_vllm_operator.rollout.step import Step

_SHOWN_CHANGES: Final = 3
_SLOWEST_DISK: Final = 100_000_000
"""Bytes a second, of a shared volume that others use as well."""
_SILENT_LOAD: Final = timedelta(minutes=10)
"""Without a line in its log, after which a pod that should have started is taken to hang: compiling takes minutes."""
_LOOK_AT_NODE: Final = timedelta(seconds=31)
_INSPECT_AGAIN: Final = timedelta(seconds=61)


def decide(observed: Observed, catalogue: Catalogue, now: datetime) -> Decision:
    """What to do about one LLMDeployment."""
    asked, paused = make_plan(observed, catalogue, now), observed.resource.paused
    rollback = find_rollback(observed, asked, _startup_seconds(asked), now)
    planned = roll_back(observed, asked, rollback, catalogue.policy.pods, now)
    plan = as_it_runs(observed, planned) if paused else planned
    stopped = observed.resource.status.stopped if paused else find_stopped(observed, plan.revision, plan.live, now)
    # Only what the status says already: it is what is left when the pods are gone.
    is_stopped = stopped is not None and stopped == observed.resource.status.stopped
    step = find_step(observed, plan, now)
    if (hold := find_hold(observed, plan, step, now)) is not None:
        plan, step = hold.plan, hold.step
    wanted = (*_children(observed, plan, is_stopped, step), *(hold.jobs if hold is not None else ()))
    costs = Costs() if paused or is_stopped or observed.newest_unreadable else find_costs(observed, plan.live)
    recovered = _recover(observed, plan, now)
    situation = _situation(observed, plan, step, recovered, stopped)
    situation = replace(situation, rollback=rollback)
    if paused:
        situation = replace(
            situation,
            paused=True,
            held_back=find_held_back(observed, planned, step, is_stopped),
            # What goes on, or ended, before the pause keeps the spec from running all the same.
            waiting=planned.fetching.problem if planned.fetching is not None else None,
            waits_in_vain=planned.fetching is not None and planned.fetching.failed,
        )
    status = build_status(observed, plan, situation, recovered.status, now)
    compared = compare_now(observed, status.memory_plan)
    return Decision(
        writes=stop_rollout(observed, plan) if paused else find_writes(observed, plan, wanted),
        prunes=() if paused else (*find_prunes(observed, plan, wanted), *find_litter(observed)),
        gates=_gates(observed, plan.live.probe, now),
        probes=_probes(observed, plan),
        status=None if status == observed.resource.status else status,
        # What is to follow what the status says comes with the next look.
        look_again_at=now
        if stopped is not None and not is_stopped
        else _look_again_at(situation, plan, status, recovered, now),
        news=(
            *find_news(compared, observed.resource.status.revision or ""),
            *recovered.news,
            *find_story(observed.resource.status, status, situation.changed),
        ),
        replacement=recovered.replacement,
        wants_places=step.wants_places,
        wants_loads=costs.wants_loads or (hold is not None and hold.wants_loads),
        costs=costs.patches,
        plan_error=compared.error if compared is not None else None,
    )


def _children(observed: Observed, plan: Plan, is_stopped: bool, step: Step) -> tuple[Json, ...]:
    owner = observed.resource.owner
    job = (plan.fetching.job,) if plan.fetching is not None and plan.fetching.job is not None else ()
    if plan.revision is not None:
        live = replace(plan.live, replicas=0) if is_stopped else plan.live
        guarded = is_guarded(observed, plan.revision, live)
        return (*build_children(owner, plan.revision, live, guarded, step.way, step.surge), *job)
    # A name that is taken must be noticed before gigabytes are fetched.
    return (build_service(owner, plan.live.service), *job) if plan.fetching is not None else ()


def _gates(observed: Observed, probe: Probe, now: datetime) -> tuple[GatePatch, ...]:
    verdicts = ((pod, judge(pod, observed.probes.get(pod.uid), probe.failure_threshold)) for pod in observed.pods)
    return tuple(GatePatch(pod.name, pod.uid, state, now) for pod, state in verdicts if state is not None)


def _probes(observed: Observed, plan: Plan) -> tuple[ProbeTarget, ...]:
    if plan.revision is None:
        return ()
    of_pods = {revision.hash: revision.spec for revision in observed.revisions}
    specs = {pod.uid: of_pods.get(pod.revision, plan.revision.spec) for pod in observed.pods}
    # The served name never changes, so it is the same in every revision.
    return tuple(
        ProbeTarget(
            pod_uid=pod.uid,
            pod_name=pod.name,
            container_id=pod.container_id,
            ip=pod.ip,
            served_name=plan.revision.served_name,
            settings=plan.live.probe,
            proven=pod.gate is not None and pod.gate.generates and pod.gate.container_id == pod.container_id,
            was_varied=pod.gate is not None and pod.gate.was_varied and pod.gate.container_id == pod.container_id,
            adapters=tuple(adapter.name for adapter in specs[pod.uid].model.adapters),
            max_model_len=length if isinstance(length := specs[pod.uid].engine.max_model_len, int) else None,
        )
        for pod in observed.pods
        if pod.running and pod.ip and pod.container_id and not pod.terminating
    )


def _recover(observed: Observed, plan: Plan, now: datetime) -> Recovered:
    terms = Terms(
        settings=plan.live.recovery,
        wanted=plan.live.replicas,
        patience=timedelta(seconds=_startup_seconds(plan)),
        silent=frozenset(
            pod.uid
            for pod in observed.pods
            if _is_silent(pod, observed.probes.get(pod.uid), plan.live.probe.failure_threshold)
        ),
        hung=frozenset(pod.uid for pod in observed.pods if _is_hung(pod, observed, plan, now)),
    )
    return decide_recovery(observed.pods, observed.resource.status.recovery, terms, now)


def _is_hung(pod: Pod, observed: Observed, plan: Plan, now: datetime) -> bool:
    """Whether a pod loads for too long, and says nothing any more: one that is slow tells of its shards.

    Triton's Python stub hangs so where a machine has no time while it starts (docs/design/readiness.md).
    """
    deadline = startup_deadline(pod, _startup_seconds(plan))
    if not pod.loads or deadline is None or now < deadline:
        return False
    said = observed.last_said.get(pod.name)
    return said is not None and now - said >= _SILENT_LOAD


def _is_silent(pod: Pod, history: ProbeHistory | None, threshold: int) -> bool:
    """Whether the probes of this process have found of this container what its gate says.

    Several that wait beside one another see one silence, which may be one long step: it takes another after it.
    """
    if history is None or history.container_id != pod.container_id or pod.gate is None:
        return False
    least = 1 if history.reason in PROOFS else threshold + 1
    return history.reason is not None and history.reason == pod.gate.reason and history.failures >= least


def _situation(
    observed: Observed, plan: Plan, step: Step, recovered: Recovered, stopped: StoppedStatus | None
) -> Situation:
    refusal = find_refusal(observed)
    return Situation(
        name=observed.resource.owner.name,
        refused=plan.refused,
        unchecked=plan.unchecked,
        waiting=plan.fetching.problem if plan.fetching else None,
        waits_in_vain=plan.fetching is not None and plan.fetching.failed,
        replicas=plan.live.replicas,
        step=step,
        revision=plan.revision.hash if plan.revision else "",
        pods=observed.pods,
        pods_refused=say_refusal(refusal) if refusal else "",
        pods_refused_since=refusal.since if refusal else None,
        startup_deadline_seconds=_startup_seconds(plan),
        changed=_changed(observed, plan),
        differences=find_differences(observed, plan),
        warnings=find_warnings(observed, plan),
        scheduler=(scheduling.scheduler_name or "")
        if plan.revision and (scheduling := plan.revision.spec.scheduling)
        else "",
        memory=_memory(observed, plan),
        last_words=observed.last_words,
        remedies=recovered.remedies,
        replaced=open_replacement(recovered.status),
        lost_nodes=observed.lost_nodes,
        stopped=stopped,
        cut_off=tuple(
            pod.name
            for pod in observed.pods
            if pod.serves and (seen := observed.probes.get(pod.uid)) is not None and seen.misses >= CUT_OFF
        ),
        unreached=frozenset(
            pod.name for pod in observed.pods if (seen := observed.probes.get(pod.uid)) is not None and seen.unreached
        ),
    )


def _startup_seconds(plan: Plan) -> int:
    """What a pod may take until it generates: the larger the weights, the longer they take to come from a slow disk."""
    return plan.live.probe.startup_deadline_seconds + (find_weight_bytes(plan.revision) or 0) // _SLOWEST_DISK


def _memory(observed: Observed, plan: Plan) -> Finding | None:
    """What was found now, or else before."""
    if (found := plan.memory) is not None:
        return Finding(found.status, found.reason, found.message)
    before = observed.resource.status.condition(ConditionType.MEMORY_FITS)
    is_known = before is not None and before.reason in set(Reason)
    if before is None or not is_known or before.observed_generation != observed.resource.generation:
        return None
    return Finding(before.status, Reason(before.reason), before.message)


def _changed(observed: Observed, plan: Plan) -> str:
    if plan.revision is None:
        return ""
    used = {pod.revision for pod in observed.pods} - {plan.revision.hash}
    old = (revision for revision in observed.revisions if revision.hash in used)
    paths = {change.path: None for revision in old for change in find_changes(revision.spec, plan.revision.spec)}
    shown = list(paths)[:_SHOWN_CHANGES]
    return ", ".join([*shown, f"{len(paths) - len(shown)} more"] if len(paths) > len(shown) else shown)


def _look_again_at(
    situation: Situation, plan: Plan, status: LLMDeploymentStatus, recovered: Recovered, now: datetime
) -> datetime | None:
    waiting = [pod for pod in situation.current if not pod.serves]
    deadlines = [(pod, late_from(pod, situation.startup_deadline_seconds)) for pod in waiting]
    moments = [deadline for _, deadline in deadlines] + [unreachable_from(pod, situation) for pod in waiting]
    if any(pod.loads and deadline is not None and deadline <= now for pod, deadline in deadlines):
        # When it last said something is read again.
        moments.append(now + _INSPECT_AGAIN)
    moments += [moment for pod in waiting for moment in (ask_again_at(pod, now), unready_from(pod))]
    stuck = [moment for pod in situation.pods if (moment := stuck_from(pod)) is not None]
    if any(unready_from(pod) is not None for pod in waiting) or any(moment <= now for moment in stuck):
        # The nodes are not watched.
        moments.append(now + _LOOK_AT_NODE)
    moments += stuck
    if situation.pods_refused:
        moments.append(refusal_deadline(situation))
    moments += [recovered.look_again_at, situation.step.look_again_at]
    if plan.revision is not None:
        moments.append(generation_deadline(status.rollout, plan.revision, situation.startup_deadline_seconds))
    if plan.fetching is not None:
        moments.append(plan.fetching.look_again_at)
    if status.engine and not status.engine.running and any(pod.serves for pod in situation.current):
        moments.append(now + _INSPECT_AGAIN)
    return min((moment for moment in moments if moment is not None and moment > now), default=None)
