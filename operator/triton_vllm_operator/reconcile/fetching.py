"""What must be found out about the repositories of a spec before there can be a revision of it. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LLMDeploymentSpec
from triton_vllm_operator.health.failures import Problem, find_problem
from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.kube.resources import JOB, name_of
from triton_vllm_operator.manifests.preparation import build_fetch_job, needs_fetch
from triton_vllm_operator.reconcile.model import Child, Observed
from triton_vllm_operator.sources.report import Fault, Report, SourceReport, parse_report

_LOOK_SECONDS: Final = 10
"""Between two looks at the progress."""
_RETRY_AFTER: Final = timedelta(minutes=5)
"""After which a fetch that failed is tried anew: a token may have been mended, terms accepted."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """Everything is known; nothing was to be found out if `sources` is empty."""

    sources: tuple[SourceReport, ...]


@dataclass(frozen=True, slots=True)
class Fetching:
    """A Job is at work, or has failed."""

    job: Json | None
    """The Job that should be there; None if the one that is there has had its time, and a new one follows."""
    problem: Problem
    """What is under way, or why it does not go on."""
    failed: bool
    look_again_at: datetime | None


def find_fetched(observed: Observed, spec: LLMDeploymentSpec, tools_image: str, now: datetime) -> Fetched | Fetching:
    """How far the repositories of a spec are resolved, and those that are kept on volumes fetched."""
    if not needs_fetch(spec):
        return Fetched(())
    job = build_fetch_job(observed.resource.owner, spec, tools_image)
    name = name_of(job)
    there = next((child for child in observed.children_of(JOB) if child.name == name), None)
    pods = tuple(pod for pod in observed.fetch_pods if pod.job == name)
    if (report := _result(pods)) is not None:
        return Fetched(report.sources)
    failed_at = _condition_time(there, "Failed")
    if failed_at is not None:
        return _after_failure(job, _last_fault(pods, name), failed_at, now)
    if _condition_time(there, "Complete") is not None and not any(pod.running for pod in pods):
        # The pod that knew the result is gone: the next one finds everything fetched.
        return Fetching(None, Problem(Reason.FETCHING_MODEL, "looking at the model again"), False, None)
    return Fetching(job, _under_way(pods, observed.progress), False, now + timedelta(seconds=_LOOK_SECONDS))


def _result(pods: tuple[Pod, ...]) -> Report | None:
    for pod in pods:
        if pod.phase == "Succeeded" and pod.ended is not None and (report := parse_report(pod.ended.message)):
            return report
    return None


def _condition_time(job: Child | None, kind: str) -> datetime | None:
    status = job.body.get("status") if job else None
    conditions = status.get("conditions") if isinstance(status, dict) else None
    for condition in conditions or ():
        if condition.get("type") == kind and condition.get("status") == "True":
            return datetime.fromisoformat(str(condition.get("lastTransitionTime")))
    return None


def _after_failure(job: Json, problem: Problem, failed_at: datetime, now: datetime) -> Fetching:
    again_at = failed_at + _RETRY_AFTER
    if again_at <= now:
        return Fetching(None, problem, failed=True, look_again_at=None)
    minutes = int(_RETRY_AFTER.total_seconds() // 60)
    message = f"{problem.message}; it is tried again every {minutes} minutes, at once after: kubectl delete job "
    return Fetching(job, Problem(problem.reason, message + name_of(job)), failed=True, look_again_at=again_at)


def _last_fault(pods: tuple[Pod, ...], job: str) -> Problem:
    faults = [fault for pod in pods if (fault := _fault(pod))]
    if faults:
        return Problem(faults[-1].reason, faults[-1].message)
    problem = next((problem for pod in pods if (problem := find_problem(pod))), None)
    return problem or Problem(Reason.MODEL_FETCH_FAILED, f"Job {job} failed without a word; see kubectl describe job")


def _fault(pod: Pod) -> Fault | None:
    report = parse_report(pod.ended.message) if pod.ended else None
    return report.fault if report else None


def _under_way(pods: tuple[Pod, ...], progress: str) -> Problem:
    alive = [pod for pod in pods if pod.phase != "Failed" and not pod.terminating]
    failed = [fault.message for pod in pods if pod not in alive and (fault := _fault(pod))]
    for pod in alive:
        if problem := find_problem(pod):
            return problem
    if failed and not any(pod.running for pod in alive):
        return Problem(Reason.FETCHING_MODEL, f"trying again: {failed[-1]}")
    return Problem(Reason.FETCHING_MODEL, progress or "looking up the model")
