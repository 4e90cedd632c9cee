"""The part of a spec that restarts nothing: it is taken from the live spec, whatever becomes of the rest. Pure."""

from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.pods import Fetch, ServiceSettings
from triton_vllm_operator.api.spec import LLMDeploymentSpec, Probe

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Live:
    """What no revision holds."""

    replicas: int
    probe: Probe
    service: ServiceSettings | None
    fetch: Fetch | None


def live_part(spec: LLMDeploymentSpec) -> Live:
    """Of a spec that could be read."""
    return Live(spec.replicas, spec.probe, spec.service, spec.fetch)


def salvage_live_part(spec: Json) -> Live:
    """Of a spec that could not be read: each member by itself, the default for one that is at fault."""
    replicas = spec.get("replicas")
    is_count = isinstance(replicas, int) and not isinstance(replicas, bool) and replicas >= 0
    return Live(
        replicas=replicas if is_count and isinstance(replicas, int) else 1,
        probe=_salvage(Probe, spec.get("probe")) or Probe(),
        service=_salvage(ServiceSettings, spec.get("service")),
        fetch=_salvage(Fetch, spec.get("fetch")),
    )


def _salvage(model: type[_Model], value: object) -> _Model | None:
    try:
        return None if value is None else model.model_validate(value)
    except ValidationError:
        return None
