"""An LLMDeployment whose owner wants nothing to be changed: gates and the status go on, and all else waits. Pure."""

from dataclasses import replace

from triton_vllm_operator.api.recovery import Recovery, RecoveryPolicy
from triton_vllm_operator.api.rollout import RolloutWay
from triton_vllm_operator.kube.deployment import find_surge
from triton_vllm_operator.kube.resources import DEPLOYMENT, as_dict, name_of
from triton_vllm_operator.manifests.deployment import build_deployment, find_way
from triton_vllm_operator.reconcile.children import build_children, find_writes
from triton_vllm_operator.reconcile.disruption import is_guarded
from triton_vllm_operator.reconcile.model import Observed, Write
from triton_vllm_operator.reconcile.plan import Plan
from triton_vllm_operator.rollout.step import Step


def as_it_runs(observed: Observed, plan: Plan) -> Plan:
    """The plan without anything that would change: the newest revision, with as many pods as there are to be now."""
    live = replace(plan.live, recovery=Recovery(policy=RecoveryPolicy.REPORT))
    # Of pods that end in vain there are none: that is not what was asked for.
    if observed.resource.status.stopped is None and (replicas := observed.deployed_replicas) is not None:
        live = replace(live, replicas=replicas)
    return replace(plan, revision=observed.newest, live=live, fetching=None, memory=None)


def find_held_back(observed: Observed, plan: Plan, step: Step, is_stopped: bool) -> tuple[str, ...]:
    """What a plan would write, as `Deployment web`."""
    jobs = (plan.fetching.job,) if plan.fetching is not None and plan.fetching.job is not None else ()
    looks = ("a Job that looks up the model",) if find_writes(observed, plan, jobs) else ()
    if plan.revision is None:
        return looks
    live = replace(plan.live, replicas=0) if is_stopped else plan.live
    guarded = is_guarded(observed, plan.revision, live)
    wanted = build_children(observed.resource.owner, plan.revision, live, guarded, step.way, step.surge)
    writes = find_writes(observed, plan, wanted)
    return (*looks, *(f"{write.manifest['kind']} {name_of(write.manifest)}" for write in writes))


def stop_rollout(observed: Observed, plan: Plan) -> tuple[Write, ...]:
    """What keeps Kubernetes from replacing more pods, if it is about to: its own word for the same."""
    revision = plan.revision
    if observed.newest_unreadable is not None:
        return ()
    if revision is None or not any(pod.lives and pod.revision != revision.hash for pod in observed.pods):
        return ()
    living = sum(pod.lives for pod in observed.pods)
    return tuple(
        Write(
            build_deployment(
                observed.resource.owner,
                revision.hash,
                revision.pod_template,
                plan.live.replicas,
                plan.live.probe.startup_deadline_seconds,
                find_way(deployment.body) or RolloutWay.REPLACE,
                # One that is paused shares out what is too many, whoever serves.
                max(1, find_surge(deployment.body), living - plan.live.replicas),
                paused=True,
            ),
            deployment.uid,
        )
        for deployment in observed.children_of(DEPLOYMENT)
        if as_dict(deployment.body.get("spec")).get("paused") is not True
    )
