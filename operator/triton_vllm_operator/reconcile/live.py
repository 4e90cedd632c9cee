"""The part of a spec that restarts nothing: it is taken from the live spec, whatever becomes of the rest. Pure."""

from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.pods import Fetch, ServiceSettings
from triton_vllm_operator.api.recovery import Recovery
from triton_vllm_operator.api.rollout import Rollout
from triton_vllm_operator.api.spec import MOST_REPLICAS, LLMDeploymentSpec, Memory, MemoryPolicy, Probe

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Live:
    """What no revision holds."""

    replicas: int
    probe: Probe
    service: ServiceSettings | None
    fetch: Fetch | None
    memory: MemoryPolicy = MemoryPolicy.ENFORCE
    recovery: Recovery = field(default_factory=Recovery)
    rollout: Rollout = field(default_factory=Rollout)
    leaves_service: bool = False
    """What the Service should be cannot be read: one that is there stays as it is."""


def live_part(spec: LLMDeploymentSpec) -> Live:
    """Of a spec that could be read."""
    policy = (spec.memory or Memory()).policy
    return Live(
        replicas=spec.replicas,
        probe=spec.probe,
        service=spec.service,
        fetch=spec.fetch,
        memory=policy,
        recovery=spec.recovery or Recovery(),
        rollout=spec.rollout or Rollout(),
    )


def salvage_live_part(spec: Json, running: int) -> Live:
    """Of a spec that could not be read: each member by itself; what is at fault stays as it is, or is the default.

    `running` is the number of replicas that there are.
    """
    replicas, service = spec.get("replicas", 1), spec.get("service")
    is_count = isinstance(replicas, int) and not isinstance(replicas, bool) and 0 <= replicas <= MOST_REPLICAS
    settings = _salvage(ServiceSettings, service)
    return Live(
        replicas=replicas if is_count and isinstance(replicas, int) else running,
        probe=_salvage(Probe, spec.get("probe")) or Probe(),
        service=settings,
        fetch=_salvage(Fetch, spec.get("fetch")),
        memory=(_salvage(Memory, spec.get("memory")) or Memory()).policy,
        recovery=_salvage(Recovery, spec.get("recovery")) or Recovery(),
        rollout=_salvage(Rollout, spec.get("rollout")) or Rollout(),
        leaves_service=service is not None and settings is None,
    )


def _salvage(model: type[_Model], value: object) -> _Model | None:
    try:
        return None if value is None else model.model_validate(value)
    except ValidationError:
        return None
