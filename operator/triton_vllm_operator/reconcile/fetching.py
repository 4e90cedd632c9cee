"""What must be found out about the repositories of a spec, and fetched, before pods can serve it. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.platform import Pods
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LLMDeploymentSpec
from triton_vllm_operator.health.failures.pods import Problem, find_problem
from triton_vllm_operator.health.refusals import describe_refusal
from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.kube.resources import JOB, name_of, start_time, true_condition
from triton_vllm_operator.manifests.job import Purpose, is_for
from triton_vllm_operator.manifests.preparation import build_fetch_job, needs_fetch
from triton_vllm_operator.manifests.revision import Revision
from triton_vllm_operator.manifests.sources import Commits, place_sources
from triton_vllm_operator.reconcile.model import Child, Observed
from triton_vllm_operator.sources.report import EXIT_FAULT, Fault, Report, SourceReport, parse_report

_LOOK: Final = timedelta(seconds=10)
"""Between two looks at the progress."""
_POD_LATE_AFTER: Final = timedelta(seconds=60)
"""Without a running pod, and without an event that says why."""
_RESOURCES: Final = "spec.fetch.resources"
_TURN: Final = timedelta(seconds=5)
_WAITS: Final = "other models are looked into; this one has its turn after them"
_OF_THE_MODEL: Final = frozenset({Reason.MODEL_NOT_FOUND, Reason.MODEL_NOT_SERVABLE, Reason.MODEL_ACCESS_DENIED})
"""What the serving pods would find too."""
_LONGEST_PULL: Final = timedelta(minutes=10)
RETRY_AFTER: Final = timedelta(minutes=5)
"""After which a fetch that failed is tried anew: a token may have been mended, terms accepted."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """Everything is known; nothing was to be found out if `sources` is empty."""

    sources: tuple[SourceReport, ...]
    job: Json | None = None
    """The Job that found it out."""


@dataclass(frozen=True, slots=True)
class Fetching:
    """What a spec waits for before it is a revision: a Job that is at work or failed, memory, or old pods."""

    job: Json | None
    """The Job that should be there; None if the one that is there has had its time, and a new one follows."""
    problem: Problem
    """What is under way, or why it does not go on."""
    failed: bool
    look_again_at: datetime | None

    def beside_others(self) -> "Fetching":
        """Said of an edit while pods of an earlier revision serve."""
        message = f"{self.problem.message}; what was accepted before keeps running"
        return replace(self, problem=Problem(self.problem.reason, message))


def find_fetched(
    observed: Observed,
    spec: LLMDeploymentSpec,
    vllm: str,
    newest: Revision | None,
    settings: Pods,
    now: datetime,
    inspects: bool = False,
) -> Fetched | Fetching:
    """How far the repositories of a spec are resolved, and those that are kept on volumes fetched.

    `inspects` is whether a model in an image or on a claim is looked into as well.
    """
    if not needs_fetch(spec) and not inspects:
        return Fetched(())
    job = build_fetch_job(observed.resource.owner, spec, vllm, settings, _known_commits(spec, newest), inspects)
    name = name_of(job)
    there = _find_job(observed, name)
    if there is None and is_for(name, Purpose.LOOK) and not observed.may_look:
        return Fetching(None, Problem(Reason.FETCHING_MODEL, _WAITS), False, now + _TURN)
    pods = tuple(pod for pod in observed.fetch_pods if there is not None and pod.job_uid == there.uid)
    if (report := _result(pods, spec)) is not None:
        return Fetched(report.sources, job)
    if (final := _final_fault(pods)) is not None and there is not None and not true_condition(there.body, "Failed"):
        # The Job says so a moment later, and with it when it is tried again.
        return Fetching(job, Problem(final.reason, final.message), True, now + _LOOK)
    if there is not None and (failed := true_condition(there.body, "Failed")):
        return _after_failure(job, _last_fault(pods, name), failed.since or now, now)
    if there is not None and (complete := true_condition(there.body, "Complete")) and not any(p.running for p in pods):
        return _after_nothing(job, pods, complete.since or now, now)
    return Fetching(job, _under_way(there, pods, observed, now), False, now + _LOOK)


def has_fetch_job(
    observed: Observed, spec: LLMDeploymentSpec, vllm: str, newest: Revision | None, settings: Pods
) -> bool:
    """Whether the Job is there that fetches what must be fetched, and looks into nothing else."""
    job = build_fetch_job(observed.resource.owner, spec, vllm, settings, _known_commits(spec, newest))
    return _find_job(observed, name_of(job)) is not None


def _find_job(observed: Observed, name: str) -> Child | None:
    return next((child for child in observed.children_of(JOB) if child.name == name), None)


def give_up(fetching: Fetching, observed: Observed, now: datetime) -> str:
    """Why a Job that only looks into a model is not waited for any longer; empty while it is.

    What it would have told spares a start in vain; what keeps its pods from running keeps nobody from trying.
    """
    if fetching.problem.reason in _OF_THE_MODEL or fetching.job is None:
        return ""
    there = _find_job(observed, name_of(fetching.job))
    began = start_time(there.body) if there is not None else None
    if fetching.problem.reason is Reason.FETCHING_MODEL and any(pod.running for pod in observed.fetch_pods):
        return ""
    # A pod that waits without a word may be pulling its image.
    patience = _LONGEST_PULL if fetching.problem.reason is Reason.FETCHING_MODEL else _POD_LATE_AFTER
    is_late = began is not None and now - began >= patience
    return fetching.problem.message if fetching.failed or is_late else ""


def look_began(observed: Observed, now: datetime) -> datetime | None:
    """When a Job that only looks, and has not ended, began; None if there is none."""
    bodies = [child.body for child in observed.children_of(JOB) if is_for(child.name, Purpose.LOOK)]
    running = [body for body in bodies if not any(true_condition(body, kind) for kind in ("Complete", "Failed"))]
    return min((start_time(body) or now for body in running), default=None)


def _after_nothing(job: Json, pods: tuple[Pod, ...], ended_at: datetime, now: datetime) -> Fetching:
    """A Job that ended well, and left no result."""
    if not pods:
        # The pod that knew it is gone: the next one finds everything fetched.
        return Fetching(None, Problem(Reason.FETCHING_MODEL, "looking at the model again"), False, None)
    message = f"Job {name_of(job)} left no report that can be read; is its image of the operator's own version?"
    return _after_failure(job, Problem(Reason.MODEL_FETCH_FAILED, message), ended_at, now)


def _known_commits(spec: LLMDeploymentSpec, newest: Revision | None) -> Commits:
    """Commits of sources that the newest revision has too: an edit of something else moves no branch."""
    if newest is None:
        return {}
    found = {source.volume: source.commit for source in newest.sources if source.commit}
    known = {
        (placed.mount, placed.source.hugging_face): found[placed.volume]
        for placed in place_sources(newest.spec)
        if placed.volume in found
    }
    wanted = ((placed.volume, (placed.mount, placed.source.hugging_face)) for placed in place_sources(spec))
    return {volume: known[source] for volume, source in wanted if source in known}


def _result(pods: tuple[Pod, ...], spec: LLMDeploymentSpec) -> Report | None:
    """The report of a pod that succeeded, if it speaks of every repository of the spec."""
    wanted = {placed.volume for placed in place_sources(spec) if placed.source.hugging_face is not None}
    for pod in pods:
        report = parse_report(pod.ended.message) if pod.phase == "Succeeded" and pod.ended else None
        if (
            report is not None
            and report.fault is None
            and {source.volume for source in report.sources if source.commit} == wanted
        ):
            return report
    return None


def _after_failure(job: Json, problem: Problem, failed_at: datetime, now: datetime) -> Fetching:
    again_at = failed_at + RETRY_AFTER
    if again_at <= now:
        return Fetching(None, problem, failed=True, look_again_at=None)
    minutes = int(RETRY_AFTER.total_seconds() // 60)
    message = f"{problem.message}; it is tried again every {minutes} minutes, at once after: kubectl delete job "
    return Fetching(job, Problem(problem.reason, message + name_of(job)), failed=True, look_again_at=again_at)


def _last_fault(pods: tuple[Pod, ...], job: str) -> Problem:
    if fault := _newest_fault(pods):
        return Problem(fault.reason, fault.message)
    problem = next((problem for pod in pods if (problem := find_problem(pod))), None)
    return problem or Problem(Reason.MODEL_FETCH_FAILED, f"Job {job} failed without a word; see kubectl describe job")


def _final_fault(pods: tuple[Pod, ...]) -> Fault | None:
    """What trying again does not mend."""
    return _newest_fault(tuple(pod for pod in pods if pod.ended and pod.ended.exit_code == EXIT_FAULT))


def _newest_fault(pods: tuple[Pod, ...]) -> Fault | None:
    """What ended the Job if a pod said that trying again does not help, else the last that was said."""
    ended = [(pod.ended.exit_code == EXIT_FAULT, pod.ended.finished_at, pod.ended.message) for pod in pods if pod.ended]
    reports = (parse_report(message) for _, _, message in sorted(ended, reverse=True))
    return next((report.fault for report in reports if report and report.fault), None)


def _under_way(job: Child | None, pods: tuple[Pod, ...], observed: Observed, now: datetime) -> Problem:
    alive = [pod for pod in pods if pod.lives]
    running = next((pod for pod in alive if pod.running), None)
    if running is not None and (said := observed.progress.get(running.name)):
        return Problem(Reason.FETCHING_MODEL, said)
    # One that ended well tells of it a moment later.
    waiting = (pod for pod in alive if not pod.running and (pod.ended is None or pod.ended.exit_code != 0))
    if problem := next((problem for pod in waiting if (problem := find_problem(pod))), None):
        return problem
    if fault := _newest_fault(tuple(pod for pod in pods if pod not in alive)):
        return Problem(Reason.FETCHING_MODEL, f"trying again: {fault.message}")
    if running is not None:
        return Problem(Reason.FETCHING_MODEL, "looking up the model")
    if job is not None and (refusal := observed.podless.get(job.name)):
        said = describe_refusal(refusal, _RESOURCES)
        return Problem(Reason.PODS_REFUSED, f"Kubernetes makes no pod for Job {job.name}: {said}")
    started = start_time(job.body) if job else None
    if job is not None and started is not None and now - started >= _POD_LATE_AFTER:
        return Problem(Reason.FETCHING_MODEL, f"Job {job.name} has no running pod; see kubectl describe job {job.name}")
    return Problem(Reason.FETCHING_MODEL, "looking up the model")
