"""Whether no pod is kept, since each would end as those before it did, and hold its GPUs meanwhile. Pure.

It stands in the status before the pods go that showed it. Another revision, or `kubectl rollout restart`, tries it
anew.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from triton_vllm_operator.api.recovery import RecoveryPolicy
from triton_vllm_operator.api.status import shorten
from triton_vllm_operator.api.stopped import LONGEST_REASON, StoppedStatus
from triton_vllm_operator.api.times import format_time
from triton_vllm_operator.health.failures.last_words import NO_WORDS, LastWords
from triton_vllm_operator.health.failures.pods import Problem, find_problem, say_when_gone
from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.kube.resources import DEPLOYMENT, as_dict, metadata_of
from triton_vllm_operator.manifests.revision import Revision
from triton_vllm_operator.reconcile.live import Live
from triton_vllm_operator.reconcile.model import Observed
from triton_vllm_operator.reconcile.timeline import is_over

_RESTARTED_AT: Final = "kubectl.kubernetes.io/restartedAt"
"""What `kubectl rollout restart` writes into a pod template."""


def find_stopped(observed: Observed, revision: Revision | None, live: Live, now: datetime) -> StoppedStatus | None:
    """Why no pod of the revision is kept; None if they are."""
    if revision is None or live.recovery.policy is RecoveryPolicy.REPORT:
        return None
    before, restarted_at = observed.resource.status.stopped, find_restart(observed)
    if before is not None and (before.revision, before.restarted_at) == (revision.name, restarted_at):
        return before
    if _has_generated(observed, revision):
        return None
    problem = find_end(observed.pods, revision.hash, observed.last_words)
    if problem is None:
        return None
    return StoppedStatus(
        revision=revision.name,
        reason=problem.reason,
        message=shorten(say_when_gone(problem.message), LONGEST_REASON),
        time=format_time(now),
        restarted_at=restarted_at,
    )


def _has_generated(observed: Observed, revision: Revision) -> bool:
    """Whether any pod that is there has generated, or one of this revision that has gone: elsewhere it may again."""
    status = observed.resource.status
    is_told = status.timeline is not None and status.timeline.revision == revision.name and is_over(status.timeline)
    has_run = status.revision == revision.name and status.engine is not None and status.engine.running is not None
    return is_told or has_run or any(pod.gate is not None and pod.gate.has_generated for pod in observed.pods)


def find_end(pods: tuple[Pod, ...], revision: str, words: Mapping[str, LastWords]) -> Problem | None:
    """What all pods of the revision that have a node end with in vain; None if one does not, or has begun once more."""
    mine = [pod for pod in pods if pod.revision == revision and pod.lives and pod.scheduled_at is not None]
    found = [find_problem(pod, words.get(pod.name, NO_WORDS)) for pod in mine if not pod.running]
    ends = [problem for problem in found if problem is not None and problem.in_vain]
    return ends[0] if ends and len(ends) == len(mine) else None


def find_restart(observed: Observed) -> str | None:
    """When `kubectl rollout restart` was last used; None if it never was."""
    for child in observed.children_of(DEPLOYMENT):
        template = as_dict(as_dict(child.body.get("spec")).get("template"))
        annotations = as_dict(metadata_of(template).get("annotations"))
        return str(annotations[_RESTARTED_AT])[:64] if _RESTARTED_AT in annotations else None
    return None
