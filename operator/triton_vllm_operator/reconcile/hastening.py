"""Pods that go and never answered anybody: they end at once instead of in their own time. Pure.

Triton that is told to end while it loads first loads to the end, so that such a pod keeps its GPUs from its successor
for as long as a pod may take to end. It was never in the Service: no request is lost.
"""

from datetime import datetime, timedelta
from typing import Final

from triton_vllm_operator.kube.pod import Pod

HASTENED_SECONDS: Final = 5
"""Until kubelet kills it: Triton and vLLM end within it if they can."""
_WORTH_IT: Final = timedelta(seconds=2 * HASTENED_SECONDS)
"""What is left to it after which it is not told again."""


def find_hastened(pods: tuple[Pod, ...], now: datetime) -> tuple[Pod, ...]:
    """Those that are to end at once."""
    return tuple(pod for pod in pods if _keeps_its_place_for_nothing(pod, now))


def _keeps_its_place_for_nothing(pod: Pod, now: datetime) -> bool:
    if not pod.terminating or pod.ends_at is None or pod.has_generated:
        return False
    is_server = bool(pod.revision) and not pod.job_uid
    return is_server and pod.running and pod.ends_at - now > _WORTH_IT
