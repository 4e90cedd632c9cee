"""Pods that go and never answered anybody: they end at once instead of in their own time. Pure.

Triton that is told to end while it loads first loads to the end, so that such a pod keeps its GPUs from its successor
for as long as a pod may take to end. It was never in the Service: no request is lost.
"""

from datetime import datetime, timedelta
from typing import Final

from triton_vllm_operator.kube.pod import Pod

HASTENED_SECONDS: Final = 5
"""The preStop hook takes these; kubelet leaves 2 s more until it kills a container."""
_WORTH_IT: Final = timedelta(seconds=2 * HASTENED_SECONDS)
"""What must be left to it for it to be told."""


def find_hastened(pods: tuple[Pod, ...], now: datetime) -> tuple[Pod, ...]:
    """Those that are to end at once."""
    return tuple(pod for pod in pods if _keeps_its_place_for_nothing(pod, now))


def _keeps_its_place_for_nothing(pod: Pod, now: datetime) -> bool:
    is_server = bool(pod.revision) and not pod.job_uid
    # One without our gate may be ready, and in a Service, although it never generated for us.
    if not is_server or not pod.running or pod.ready or pod.has_generated or pod.ends_at is None:
        return False
    # By what the API server compares: a clock that is wrong tells nobody twice.
    is_told = pod.ends_within is not None and pod.ends_within <= HASTENED_SECONDS
    return not is_told and pod.ends_at - now > _WORTH_IT
