"""Weights that a pod did not find on their volume are fetched again. Pure."""

from dataclasses import replace
from datetime import datetime

from triton_vllm_operator.api.platform import Pods
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.times import parse_time
from triton_vllm_operator.health.failures.pods import Problem
from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.manifests.preparation import kept_sources
from triton_vllm_operator.manifests.revision import Revision
from triton_vllm_operator.reconcile.fetching import RETRY_AFTER, Fetching, find_fetched
from triton_vllm_operator.reconcile.live import Live
from triton_vllm_operator.reconcile.model import Observed
from triton_vllm_operator.sources.report import Fault, parse_report


def find_refill(observed: Observed, revision: Revision, live: Live, settings: Pods, now: datetime) -> Fetching | None:
    """How far the weights of a revision are fetched again for a pod that did not find them; None if no pod misses any.

    The Job stays until the pod has looked again: it is what says that they were fetched.
    """
    kept = {placed.volume for placed in kept_sources(revision.spec)}
    without = (pod for pod in observed.pods if pod.revision == revision.hash and pod.lives)
    found = ((pod, fault) for pod in without if (fault := _missing(pod)) is not None and fault.volume in kept)
    pod, fault = next(found, (None, None))
    if pod is None or fault is None or not live.replicas:
        return None
    spec = revision.spec.model_copy(update={"fetch": live.fetch})
    fetched = find_fetched(observed, spec, revision.runtime.vllm, revision, settings, now)
    if isinstance(fetched, Fetching):
        said = f"pod {pod.name} did not find the weights on their volume; {fetched.problem.message}"
        return replace(fetched, problem=Problem(fetched.problem.reason, said))
    looked_at, fetched_at = _looked_at(pod), _fetched_at(observed)
    if looked_at is None or fetched_at is None or looked_at <= fetched_at:
        said = f"its weights were fetched again; pod {pod.name} looks at them within minutes, at once if it is deleted"
        return Fetching(fetched.job, Problem(Reason.FETCHING_MODEL, said), failed=False, look_again_at=None)
    problem = Problem(fault.reason, f"{fault.message}; pod {pod.name} looked after they were fetched again")
    again_at = fetched_at + RETRY_AFTER
    if again_at <= now:
        return Fetching(None, problem, failed=True, look_again_at=None)
    return Fetching(fetched.job, problem, failed=True, look_again_at=again_at)


def _missing(pod: Pod) -> Fault | None:
    """What the pod said if a folder was not there when it looked last."""
    report = parse_report(pod.unprepared.message) if pod.unprepared is not None and not pod.running else None
    fault = report.fault if report is not None else None
    return fault if fault is not None and fault.reason is Reason.MODEL_NOT_FOUND else None


def _looked_at(pod: Pod) -> datetime | None:
    text = pod.unprepared.finished_at if pod.unprepared is not None else ""
    return parse_time(text)


def _fetched_at(observed: Observed) -> datetime | None:
    ends = [pod.ended.finished_at for pod in observed.fetch_pods if pod.phase == "Succeeded" and pod.ended]
    return max((at for text in ends if (at := parse_time(text)) is not None), default=None)
