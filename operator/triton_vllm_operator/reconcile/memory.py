"""Whether a model fits into the memory of the GPUs that its pods may get, before any is asked for. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
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
from triton_vllm_operator.memory.cache import find_unplannable
from triton_vllm_operator.memory.fit import Fit, Planned, find_fit
from triton_vllm_operator.memory.offers import Offers, find_offers
from triton_vllm_operator.memory.reading import find_unplanned, settings_of_spec
from triton_vllm_operator.memory.settings import Gpu
from triton_vllm_operator.sources.report import ModelFacts, SourceReport
from triton_vllm_operator.sources.shape import ModelShape

_STATUS: Final[Mapping[Fit, ConditionStatus]] = {
    Fit.FITS: ConditionStatus.TRUE,
    Fit.TIGHT: ConditionStatus.TRUE,
    Fit.DOES_NOT_FIT: ConditionStatus.FALSE,
    Fit.ON_SOME_NODES: ConditionStatus.FALSE,
    Fit.NO_MATCHING_NODE: ConditionStatus.UNKNOWN,
    Fit.GPU_UNKNOWN: ConditionStatus.UNKNOWN,
}

_LEAST: Final = 1
"""Tokens of a sequence of which nobody knows how long it may be; no plan is made of it."""


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


def wants_inspection(spec: LLMDeploymentSpec, policy: MemoryPolicy, seen: NodesSeen | None) -> bool:
    """Whether a model in an image or on a claim must be looked into for a plan: there is a GPU to plan for."""
    resource = spec.gpu_resource
    if policy is MemoryPolicy.OFF or resource is None or spec.model.hugging_face is not None or seen is None:
        return False
    return _tells_a_gpu(_find_offers(spec, resource, seen))


def _find_offers(spec: LLMDeploymentSpec, resource: str, seen: NodesSeen) -> Offers:
    return find_offers(seen.nodes, spec.scheduling or Scheduling(), resource, spec.engine.gpus)


def _tells_a_gpu(offers: Offers) -> bool:
    return any(offer.gpu is not None for offer in offers.found)


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
    facts = next((source.facts for source in sources if source.volume == names.MODEL_VOLUME), None) or ModelFacts()
    if facts.shapeless is not None:
        of = f"{facts.architecture}: " if facts.architecture else ""
        return _unknown(Reason.MODEL_NOT_UNDERSTOOD, f"{of}{facts.shapeless}; the engine decides")
    if facts.shape is not None and (unplanned := find_unplanned(spec, facts.shape) or ", ".join(facts.shape.strange)):
        return _unknown(Reason.MODEL_NOT_UNDERSTOOD, f"no plan counts {unplanned}; the engine decides")
    if seen is None:
        return None
    if seen.why_unknown:
        return _unknown(Reason.NODES_UNKNOWN, seen.why_unknown)
    offers = _find_offers(spec, resource, seen)
    if facts.shape is None and _tells_a_gpu(offers):
        return _unknown(Reason.NOT_PLANNED, "the model was not looked into before its pods were made")
    try:
        return _plan(spec, vllm, facts.shape, offers)
    except (ArithmeticError, LookupError, ValueError) as error:
        # What a report or a stored revision holds may be anybody's: it must not keep the LLMDeployment from being seen.
        return _unknown(
            Reason.MODEL_NOT_UNDERSTOOD, f"no plan can be made of its shape ({error!r}); the engine decides"
        )


def _plan(spec: LLMDeploymentSpec, vllm: str, shape: ModelShape | None, offers: Offers) -> MemoryFinding:
    """The finding over all offers; without a shape none of them tells its GPU."""

    def case_of(gpu: Gpu) -> Case:
        assert shape is not None
        settings = settings_of_spec(spec, vllm, shape)
        case = Case(shape, settings, gpu, settings.max_model_len or shape.longest or _LEAST)
        return with_longest_that_fits(case) if spec.engine.max_model_len == AUTO else case

    if shape is not None and (why := find_unplannable(shape, settings_of_spec(spec, vllm, shape))):
        return _unknown(Reason.MODEL_NOT_UNDERSTOOD, f"no plan counts {why}; the engine decides")
    if shape is not None and shape.longest is None and not isinstance(spec.engine.max_model_len, int):
        return _unknown(Reason.MODEL_NOT_UNDERSTOOD, "config.json says no longest sequence; the engine decides")
    found = find_fit(offers, case_of)
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
