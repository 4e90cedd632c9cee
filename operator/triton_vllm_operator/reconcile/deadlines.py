"""When what a pod does, or does not do, has taken too long. Pure."""

from datetime import datetime, timedelta
from typing import Final

from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.reconcile.situation import Situation

_UNREACHABLE_AFTER: Final = timedelta(seconds=15)
"""Several probes of a loading container: long enough for the first one after its port has opened."""
_SEEN_WITHIN: Final = timedelta(seconds=15)
"""In which Kubernetes sees that a gate is open."""

_GONE_WITHIN: Final = timedelta(seconds=15)
"""After its grace period: kubelet kills what is left then, and tells of it."""


def startup_deadline(pod: Pod, seconds: int) -> datetime | None:
    """When a pod that has not generated yet has taken too long.

    Its time begins when it has a node, and anew when its weights are there: fetching them is not starting.
    """
    began = pod.initialized_at or pod.scheduled_at
    if pod.has_proof or began is None:
        return None
    if pod.has_generated and pod.started_at is not None:
        # It worked, and its container was started anew.
        began = max(began, pod.started_at)
    return began + timedelta(seconds=seconds)


def late_from(pod: Pod, seconds: int) -> datetime | None:
    """The same, also of a pod that no node takes, and that none may ever take."""
    if pod.scheduled_at is None:
        return pod.created_at + timedelta(seconds=seconds) if pod.created_at is not None else None
    return startup_deadline(pod, seconds)


def refusal_deadline(situation: Situation) -> datetime | None:
    """When Kubernetes has refused the pods for too long: in the middle of a roll a quota may do so for a while."""
    since = situation.pods_refused_since
    return since + timedelta(seconds=situation.startup_deadline_seconds) if since else None


def unreachable_from(pod: Pod, situation: Situation) -> datetime | None:
    """When a pod whose port is open, and that no probe reaches, is called unreachable."""
    if pod.has_generated or pod.containers_ready_at is None or pod.name not in situation.unreached:
        return None
    return pod.containers_ready_at + _UNREACHABLE_AFTER


def stuck_from(pod: Pod) -> datetime | None:
    """When a pod that is being deleted is overdue: then its node does not let it go."""
    return pod.ends_at + _GONE_WITHIN if pod.ends_at is not None else None


def unready_from(pod: Pod) -> datetime | None:
    """When a pod that generates is called not ready: Kubernetes takes a moment to see that it does."""
    if pod.gate is None or not pod.gate.generates or pod.ready or not pod.running or pod.generates_since is None:
        return None
    return pod.generates_since + _SEEN_WITHIN
