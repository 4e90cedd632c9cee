"""Pods that a node has taken and does not start: when it is asked why, and when again. Pure."""

from datetime import datetime, timedelta
from typing import Final

from triton_vllm_operator.kube.pod import Pod

_PATIENCE: Final = timedelta(seconds=60)
"""A volume that is attached takes as long."""
_AGAIN: Final = timedelta(seconds=61)
"""No event of our watches tells of another Event."""


def is_held(pod: Pod, now: datetime) -> bool:
    """Whether it takes so long that its Events are read."""
    return pod.waits_on_its_node and pod.scheduled_at is not None and now - pod.scheduled_at >= _PATIENCE


def ask_again_at(pod: Pod, now: datetime) -> datetime | None:
    """When its Events are read, for the first time or again; None if they need not be."""
    if not pod.waits_on_its_node or pod.scheduled_at is None:
        return None
    return max(pod.scheduled_at + _PATIENCE, now + _AGAIN) if is_held(pod, now) else pod.scheduled_at + _PATIENCE
