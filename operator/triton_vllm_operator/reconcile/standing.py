"""How an LLMDeployment stands, for metrics. Pure."""

from dataclasses import dataclass

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.reasons import ConditionType
from triton_vllm_operator.api.status import ConditionStatus, LLMDeploymentStatus
from triton_vllm_operator.api.times import parse_time


@dataclass(frozen=True, slots=True)
class Standing:
    """What an alert would ask."""

    is_ready: bool
    reason: str
    """Of Ready."""
    wanted: int
    """Pods."""
    serving: int
    """Pods that generate, also those of an earlier revision."""
    is_available: bool
    """Whether any pod of any revision generates."""
    replaced_at: tuple[float, ...] = ()
    """When pods were replaced last, in seconds since the epoch."""
    planned: int = 0
    """Tokens that the KV cache was expected to hold; 0 if it was not planned."""
    measured: int = 0
    """Tokens that it holds; 0 if no engine said so yet."""


def find_standing(status: LLMDeploymentStatus, spec: Json) -> Standing:
    """From its status and what its owner wrote, which may be anything."""
    ready, replicas = status.condition(ConditionType.READY), spec.get("replicas", 1)
    available = status.condition(ConditionType.AVAILABLE)
    replaced = status.recovery.replaced if status.recovery is not None else None
    memory = status.memory_plan
    planned = memory.predicted.kv_cache_tokens.expected if memory is not None and memory.predicted is not None else 0
    measured = memory.measured.kv_cache_tokens if memory is not None and memory.measured is not None else 0
    return Standing(
        is_ready=ready is not None and ready.status is ConditionStatus.TRUE,
        reason=ready.reason if ready is not None else "",
        wanted=replicas if isinstance(replicas, int) and not isinstance(replicas, bool) else 1,
        serving=status.ready_replicas or 0,
        is_available=available is not None and available.status is ConditionStatus.TRUE,
        replaced_at=tuple(at.timestamp() for each in replaced or () if (at := parse_time(each.time)) is not None),
        planned=planned,
        measured=measured or 0,
    )
