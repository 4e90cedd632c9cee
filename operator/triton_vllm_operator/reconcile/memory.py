"""Whether a model fits into the memory of the GPUs that its pods may get, before any is asked for. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from triton_vllm_operator.api import names
from triton_vllm_operator.api.engine import AUTO
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.scheduling import Scheduling
from triton_vllm_operator.api.spec import LLMDeploymentSpec, MemoryPolicy
from triton_vllm_operator.api.status import Amount, ConditionStatus, PredictedMemory
from triton_vllm_operator.kube.node_lister import NodesSeen
from triton_vllm_operator.memory.advice import Case, with_longest_that_fits
from triton_vllm_operator.memory.amounts import Range
from triton_vllm_operator.memory.fit import Fit, Planned, find_fit
from triton_vllm_operator.memory.offers import find_offers
from triton_vllm_operator.memory.reading import find_unplanned, settings_of_spec
from triton_vllm_operator.memory.settings import Gpu
from triton_vllm_operator.sources.report import SourceReport
from triton_vllm_operator.sources.shape import ModelShape

_STATUS: Final[Mapping[Fit, ConditionStatus]] = {
    Fit.FITS: ConditionStatus.TRUE,
    Fit.TIGHT: ConditionStatus.TRUE,
    Fit.DOES_NOT_FIT: ConditionStatus.FALSE,
    Fit.ON_SOME_NODES: ConditionStatus.FALSE,
    Fit.NO_MATCHING_NODE: ConditionStatus.UNKNOWN,
    Fit.GPU_UNKNOWN: ConditionStatus.UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class MemoryFinding:
    """What is known."""

    status: ConditionStatus
    reason: Reason
    message: str
    predicted: PredictedMemory | None = None

    @property
    def refuses(self) -> bool:
        """Whether it is certain that pods could not start, on some of the nodes at least."""
        return self.status is ConditionStatus.FALSE


def find_memory(
    spec: LLMDeploymentSpec, vllm: str, sources: tuple[SourceReport, ...], policy: MemoryPolicy, seen: NodesSeen | None
) -> MemoryFinding | None:
    """Hold a spec against the nodes; None if it takes nodes to say, and none were looked at.

    `sources` is what was found out about its model.
    """
    if policy is MemoryPolicy.OFF:
        return _unknown(Reason.NOT_PLANNED, "spec.memory.policy is Off")
    resource = spec.gpu_resource
    if resource is None:
        return _unknown(Reason.NOT_PLANNED, "memory is planned on GPUs alone")
    facts = next((source.facts for source in sources if source.volume == names.MODEL_VOLUME), None)
    if facts is None or (facts.shape is None and facts.shapeless is None):
        return _unknown(Reason.NOT_PLANNED, "the model was not looked into, as those of a hub are")
    if facts.shape is None:
        of = f"{facts.architecture}: " if facts.architecture else ""
        return _unknown(Reason.MODEL_NOT_UNDERSTOOD, f"{of}{facts.shapeless}; the engine decides")
    if unplanned := find_unplanned(spec, facts.shape) or ", ".join(facts.shape.strange):
        return _unknown(Reason.MODEL_NOT_UNDERSTOOD, f"no plan counts {unplanned}; the engine decides")
    if seen is None:
        return None
    if seen.why_unknown:
        return _unknown(Reason.NODES_UNKNOWN, seen.why_unknown)
    return _plan(spec, vllm, facts.shape, resource, seen)


def _plan(spec: LLMDeploymentSpec, vllm: str, shape: ModelShape, resource: str, seen: NodesSeen) -> MemoryFinding:
    settings = settings_of_spec(spec, vllm, shape)
    length = settings.max_model_len or shape.longest
    if length is None:
        return _unknown(Reason.MODEL_NOT_UNDERSTOOD, "config.json says no longest sequence; the engine decides")
    start = Case(shape, settings, Gpu("", 0), length)

    def case_of(gpu: Gpu) -> Case:
        case = replace(start, gpu=gpu)
        return with_longest_that_fits(case) if spec.engine.max_model_len == AUTO else case

    found = find_fit(find_offers(seen.nodes, spec.scheduling or Scheduling(), resource, spec.engine.gpus), case_of)
    predicted = _predict(found.planned[0]) if found.planned else None
    return MemoryFinding(_STATUS[found.fit], Reason(found.fit.value), found.message, predicted)


def _predict(planned: Planned) -> PredictedMemory:
    plan = planned.plan
    return PredictedMemory(
        gpu=(planned.offer.product or planned.case.gpu.product)[:128],
        runner=planned.case.settings.runner.value,
        weights_bytes=plan.weights,
        kv_bytes_per_token=plan.layout.token_bytes,
        kv_cache_bytes=_amount(plan.cache),
        kv_cache_tokens=_amount(plan.tokens),
    )


def _amount(amount: Range) -> Amount:
    return Amount(low=max(0, amount.low), expected=max(0, amount.expected), high=max(0, amount.high))


def _unknown(reason: Reason, message: str) -> MemoryFinding:
    return MemoryFinding(ConditionStatus.UNKNOWN, reason, message)
