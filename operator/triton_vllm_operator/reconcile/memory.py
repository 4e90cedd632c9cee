"""Whether a model fits into the memory of the GPUs that its pods may get, before any is asked for. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from triton_vllm_operator.api import names
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.scheduling import Scheduling
from triton_vllm_operator.api.spec import DRAFT_FIELD, Cpu, LLMDeploymentSpec, MemoryPolicy
from triton_vllm_operator.api.status import Amount, ConditionStatus, PredictedMemory
from triton_vllm_operator.kube.node_lister import NodesSeen
from triton_vllm_operator.memory.advice import Case
from triton_vllm_operator.memory.amounts import Range
from triton_vllm_operator.memory.cache import find_unplannable
from triton_vllm_operator.memory.cpu import find_cpu_fit
from triton_vllm_operator.memory.fit import Fit, Planned, find_fit
from triton_vllm_operator.memory.learned import EDITION, Learned
from triton_vllm_operator.memory.offers import Offers, find_offers
from triton_vllm_operator.memory.plan import Plan
from triton_vllm_operator.memory.reading import find_shape, read_case, read_cpu_case, settings_of_spec
from triton_vllm_operator.memory.settings import EngineSettings, Gpu
from triton_vllm_operator.memory.uncounted import find_uncounted
from triton_vllm_operator.sources.report import ModelFacts, SourceReport, find_source
from triton_vllm_operator.sources.shape import ModelShape

_STATUS: Final[Mapping[Fit, ConditionStatus]] = {
    Fit.FITS: ConditionStatus.TRUE,
    Fit.TIGHT: ConditionStatus.TRUE,
    Fit.DOES_NOT_FIT: ConditionStatus.FALSE,
    Fit.ON_SOME_NODES: ConditionStatus.FALSE,
    Fit.NO_MATCHING_NODE: ConditionStatus.UNKNOWN,
    Fit.GPU_UNKNOWN: ConditionStatus.UNKNOWN,
}

_NOT_LOOKED: Final = "the model was not looked into before its pods were made"
_CPU: Final = "CPU"
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
    """Whether a model or draft model in an image or on a claim must be looked into: there is memory to plan for."""
    models = (spec.model, spec.draft) if spec.draft is not None else (spec.model,)
    if policy is MemoryPolicy.OFF or all(model.hugging_face is not None for model in models):
        return False
    resource = spec.gpu_resource
    if resource is None:
        return spec.memory_limit is not None
    return seen is not None and _tells_a_gpu(_find_offers(spec, resource, seen))


def _find_offers(spec: LLMDeploymentSpec, resource: str, seen: NodesSeen) -> Offers:
    return find_offers(seen.nodes, spec.scheduling or Scheduling(), resource, spec.engine.gpus)


def _tells_a_gpu(offers: Offers) -> bool:
    return any(offer.gpu is not None for offer in offers.found)


def find_memory(
    spec: LLMDeploymentSpec,
    vllm: str,
    sources: tuple[SourceReport, ...],
    policy: MemoryPolicy,
    seen: NodesSeen | None,
    learned: Learned | None = None,
) -> MemoryFinding | None:
    """Hold a spec against the nodes; None if it takes nodes to say, and none were looked at.

    `sources` is what was found out about its model; `learned` what an engine of this LLMDeployment measured.
    """
    if policy is MemoryPolicy.OFF:
        return _unknown(Reason.NOT_PLANNED, "spec.memory.policy is Off")
    model = find_source(sources, names.MODEL_VOLUME)
    facts = (model.facts if model is not None else None) or ModelFacts()
    if facts.shapeless is not None:
        of = f"{facts.architecture}: " if facts.architecture else ""
        return _unknown(Reason.MODEL_NOT_UNDERSTOOD, f"{of}{facts.shapeless}; the engine decides")
    draft, shape = find_source(sources, names.DRAFT_VOLUME), find_shape(sources)
    if draft is not None and draft.facts is not None and draft.facts.shapeless is not None:
        return _unknown(Reason.MODEL_NOT_UNDERSTOOD, f"{DRAFT_FIELD}: {draft.facts.shapeless}; the engine decides")
    if shape is not None and (uncounted := find_uncounted(spec, shape) or ", ".join(shape.strange)):
        return _unknown(Reason.MODEL_NOT_UNDERSTOOD, f"no plan counts {uncounted}; the engine decides")
    resource = spec.gpu_resource
    if resource is None:
        return _find_on_cpu(spec, vllm, shape)
    if seen is None:
        return None
    if seen.why_unknown:
        return _unknown(Reason.NODES_UNKNOWN, seen.why_unknown)
    offers = _find_offers(spec, resource, seen)
    if shape is None and _tells_a_gpu(offers):
        return _unknown(Reason.NOT_PLANNED, _NOT_LOOKED)
    return _try(lambda: _plan(spec, vllm, shape, offers, learned))


def _find_on_cpu(spec: LLMDeploymentSpec, vllm: str, shape: ModelShape | None) -> MemoryFinding:
    cpu = spec.cpu
    if shape is None or cpu is None:
        has_limit = spec.memory_limit is not None
        return _unknown(Reason.NOT_PLANNED, _NOT_LOOKED if has_limit else "spec.resources.limits.memory is unset")
    return _try(lambda: _plan_on_cpu(spec, cpu, vllm, shape))


def _try(plan: Callable[[], MemoryFinding]) -> MemoryFinding:
    """What a report or a stored revision holds may be anybody's: it must not keep the LLMDeployment from being seen."""
    try:
        return plan()
    except (ArithmeticError, LookupError, ValueError) as error:
        return _unknown(
            Reason.MODEL_NOT_UNDERSTOOD, f"no plan can be made of its shape ({error!r}); the engine decides"
        )


def _plan_on_cpu(spec: LLMDeploymentSpec, cpu: Cpu, vllm: str, shape: ModelShape) -> MemoryFinding:
    case = read_cpu_case(spec, cpu, vllm, shape, shape.longest or _LEAST)
    if why := _find_unknown(spec, shape, case.settings):
        return _unknown(Reason.MODEL_NOT_UNDERSTOOD, why)
    plan = case.plan()
    found = find_cpu_fit(case, plan)
    predicted = _as_status(plan, _CPU, case.settings).model_copy(update={"gpu_kinds": 1})
    return MemoryFinding(_STATUS[found.fit], Reason(found.fit.value), found.message, predicted)


def _find_unknown(spec: LLMDeploymentSpec, shape: ModelShape, settings: EngineSettings) -> str:
    """Why there is nothing to plan with; empty if there is."""
    if why := find_unplannable(shape, settings):
        return f"no plan counts {why}; the engine decides"
    if shape.longest is None and not isinstance(spec.engine.max_model_len, int):
        return "config.json says no longest sequence; the engine decides"
    return ""


def _plan(
    spec: LLMDeploymentSpec, vllm: str, shape: ModelShape | None, offers: Offers, learned: Learned | None
) -> MemoryFinding:
    """The finding over all offers; without a shape none of them tells its GPU."""

    def case_of(gpu: Gpu) -> Case:
        assert shape is not None
        return read_case(spec, vllm, shape, gpu, shape.longest or _LEAST, learned)

    if shape is not None and (why := _find_unknown(spec, shape, settings_of_spec(spec, vllm, shape))):
        return _unknown(Reason.MODEL_NOT_UNDERSTOOD, why)
    found = find_fit(offers, case_of)
    predicted = _predict(found.planned[0], len(offers.found)) if found.planned else None
    return MemoryFinding(_STATUS[found.fit], Reason(found.fit.value), found.message, predicted)


def _predict(planned: Planned, kinds: int) -> PredictedMemory:
    case = planned.case
    found = _as_status(planned.plan, case.gpu.product, case.settings)
    return found.model_copy(update={"gpu_kinds": kinds, "correction_bytes": case.correction or None})


def _as_status(plan: Plan, product: str, settings: EngineSettings) -> PredictedMemory:
    return PredictedMemory(
        gpu=product[:128],
        runner=settings.runner.value,
        weights_bytes=plan.weights,
        kv_bytes_per_token=plan.layout.token_bytes,
        kv_cache_bytes=_amount(plan.cache),
        kv_cache_tokens=_amount(plan.tokens),
        edition=EDITION,
    )


def _amount(amount: Range) -> Amount:
    return Amount(low=max(0, amount.low), expected=max(0, amount.expected), high=max(0, amount.high))


def _unknown(reason: Reason, message: str) -> MemoryFinding:
    return MemoryFinding(ConditionStatus.UNKNOWN, reason, message)
