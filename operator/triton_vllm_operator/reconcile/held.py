"""Pods that a node has taken and does not start: when it is asked why, and when again. Pure."""

from datetime import datetime, timedelta
from typing import Final

from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.manifests.start import WAIT_SECONDS

_PATIENCE: Final = timedelta(seconds=60)
"""A volume that is attached takes as long."""
_LONGEST_WAIT: Final = timedelta(seconds=WAIT_SECONDS + 30)
"""For its GPUs, and for what comes before."""
_WAIT_AGAIN: Final = timedelta(seconds=11)
_AGAIN: Final = timedelta(seconds=61)
"""No event of our watches tells of another Event."""


def is_held(pod: Pod, now: datetime) -> bool:
    """Whether it takes so long that its Events are read."""
    return pod.waits_on_its_node and pod.scheduled_at is not None and now - pod.scheduled_at >= _PATIENCE


def may_wait_for_memory(pod: Pod, now: datetime) -> bool:
    """Whether it may still wait for the memory of its GPUs: it does so before its server says anything."""
    is_new = pod.started_at is not None and now - pod.started_at < _LONGEST_WAIT
    return pod.waits_first and pod.loads and is_new


def ask_again_at(pod: Pod, now: datetime) -> datetime | None:
    """When its Events or its log are read, for the first time or again; None if they need not be."""
    if may_wait_for_memory(pod, now):
        return now + _WAIT_AGAIN
    if not pod.waits_on_its_node or pod.scheduled_at is None:
        return None
    return max(pod.scheduled_at + _PATIENCE, now + _AGAIN) if is_held(pod, now) else pod.scheduled_at + _PATIENCE
