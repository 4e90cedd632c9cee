"""Looks at the counters of an engine, for watchers under test."""

from triton_vllm_operator.health.target import ProbeTarget
from triton_vllm_operator.health.work import Work


async def see_rest(_: ProbeTarget) -> Work | None:
    """An engine whose counters stand still, and would move while it computes a prompt."""
    return Work(b"1", tells_prefill=True)


async def see_nothing(_: ProbeTarget) -> Work | None:
    """A backend that tells nothing."""
    return None
