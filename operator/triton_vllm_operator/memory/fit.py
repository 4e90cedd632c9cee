"""Whether a model fits every GPU that its pods may get: one finding over all offers. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from triton_vllm_operator.api.names import GPU_PRODUCT_LABEL
from triton_vllm_operator.memory.advice import Case, find_advice
from triton_vllm_operator.memory.offers import Offer, Offers
from triton_vllm_operator.memory.plan import Plan
from triton_vllm_operator.memory.settings import EngineSettings, Gpu
from triton_vllm_operator.memory.verdict import Judged, Verdict
from triton_vllm_operator.memory.versions import GIB

_SHOWN_NODES: Final = 3
_SHOWN_CHANGES: Final = 3


class Fit(StrEnum):
    """What is known of all offers together; the words are reasons of the condition MemoryFits."""

    FITS = "Fits"
    TIGHT = "FitsTightly"
    DOES_NOT_FIT = "DoesNotFit"
    ON_SOME_NODES = "FitsOnSomeNodes"
    NO_MATCHING_NODE = "NoMatchingNode"
    GPU_UNKNOWN = "GpuUnknown"


@dataclass(frozen=True, slots=True)
class Planned:
    """One offer, and what an engine would do with it."""

    offer: Offer
    case: Case
    plan: Plan
    judged: Judged


@dataclass(frozen=True, slots=True)
class Finding:
    """What comes of it, in one sentence."""

    fit: Fit
    message: str
    planned: tuple[Planned, ...] = ()
    """Those whose GPU is known, the smallest cache first."""


def find_fit(offers: Offers, case_of: Callable[[Gpu], Case]) -> Finding:
    """Plan for each offer; `case_of` is the start on one GPU."""
    if not offers.found:
        return Finding(Fit.GPU_UNKNOWN if offers.are_dynamic else Fit.NO_MATCHING_NODE, offers.why_none)
    known = [(offer, offer.gpu) for offer in offers.found if offer.gpu is not None]
    planned = tuple(
        sorted((_plan(offer, case_of(gpu)) for offer, gpu in known), key=lambda each: each.plan.cache.expected)
    )
    beside = _say_correction(planned) + _say_shared(planned)
    if failing := [each for each in planned if each.judged.verdict is Verdict.DOES_NOT_FIT]:
        unknown = len(planned) < len(offers.found)
        return _say_failing(failing, [each for each in planned if each not in failing], planned, unknown)
    if len(planned) < len(offers.found):
        nameless = next(offer for offer in offers.found if offer.gpu is None)
        labels = f"{GPU_PRODUCT_LABEL} or nvidia.com/gpu.memory"
        message = f"node {_name_nodes(nameless)} does not say which GPU it has: no label {labels}"
        return Finding(Fit.GPU_UNKNOWN, message, planned)
    worst = planned[0]
    tight = next((each for each in planned if each.judged.verdict is Verdict.TIGHT), None)
    if tight is not None:
        why = say_why(tight.plan, tight.judged, tight.case.settings)
        return Finding(Fit.TIGHT, f"tight on {_name(tight)}: {why}{beside}{_say_surer(tight.case)}", planned)
    return Finding(Fit.FITS, f"fits on {_name(worst)}: {say_room(worst.plan)}{beside}", planned)


def _plan(offer: Offer, case: Case) -> Planned:
    plan = case.plan()
    return Planned(offer, case, plan, case.judge(plan))


def _say_failing(
    failing: Sequence[Planned], fitting: Sequence[Planned], planned: tuple[Planned, ...], unknown: bool
) -> Finding:
    worst = failing[0]
    why = f"does not fit on {_name(worst)}: {say_why(worst.plan, worst.judged, worst.case.settings)}"
    why += _say_correction([worst])
    if not fitting and not unknown:
        changes = " or ".join(advice.text for advice in find_advice(worst.case)[:_SHOWN_CHANGES])
        return Finding(Fit.DOES_NOT_FIT, f"{why}; {f'it would with {changes}' if changes else _NOTHING}", planned)
    named = next((each.offer.product for each in fitting if each.offer.product), "")
    fix = (
        f"spec.scheduling.nodeSelector: {{{GPU_PRODUCT_LABEL}: {named}}} keeps it to where it does"
        if named
        else _ELSEWHERE
    )
    return Finding(Fit.ON_SOME_NODES, f"{why}; {fix}", planned)


def _say_surer(case: Case) -> str:
    """With what a tight start would not be."""
    surer = next((advice for advice in find_advice(case) if not advice.is_tight), None)
    return f"; it fits for certain with {surer.text}" if surer is not None else ""


_NOTHING: Final = "no change of one field is known with which it would"
_ELSEWHERE: Final = "keep it by spec.scheduling to nodes where it does"


def say_why(plan: Plan, judged: Judged, settings: EngineSettings) -> str:
    """What a verdict rests on, in numbers."""
    if judged.misfit or judged.doubt:
        return judged.misfit or judged.doubt
    if judged.exceeds_ceiling:
        return (
            f"spec.engine.gpuMemoryUtilization {settings.utilization:g} asks for more than the {judged.ceiling:.3f} "
            "that are free of an empty GPU"
        )
    if plan.weights >= plan.requested:
        return f"the weights take {gib(plan.weights)}, and the engine may use {gib(plan.requested)} of a GPU"
    if plan.cache.high <= 0:
        return (
            f"the weights take {gib(plan.weights)} and the largest pass {gib(plan.activations.expected)}, and the "
            f"engine may use {gib(plan.requested)} of a GPU"
        )
    return say_room(plan)


def say_room(plan: Plan) -> str:
    """What is left for the cache, and what one sequence needs of it."""
    return (
        f"one sequence of {plan.length} tokens takes {gib(plan.least_cache)} of cache, and "
        f"{gib(plan.cache.low)} to {gib(plan.cache.high)} are left"
    )


def _say_correction(planned: Sequence[Planned]) -> str:
    """That a plan starts from what an engine of the same LLMDeployment measured."""
    corrected = next((each.case.correction for each in planned if each.case.correction), 0)
    more = "more" if corrected > 0 else "less"
    return f" ({gib(abs(corrected))} {more} than computed, as the engine before it measured)" if corrected else ""


def _say_shared(planned: Sequence[Planned]) -> str:
    """Engines that share a GPU each ask for their part of all of it."""
    shared = next((each for each in planned if each.offer.shared_by > 1), None)
    if shared is None:
        return ""
    count, utilization = shared.offer.shared_by, shared.case.settings.utilization
    if utilization * count <= shared.judged.ceiling:
        return ""
    return (
        f"; up to {count} pods share a GPU there ({shared.offer.sharing}), and engines that together ask for more than "
        f"{shared.judged.ceiling:.2f} of it do not start: this one asks for {utilization:g}"
    )


def _name(planned: Planned) -> str:
    settings = planned.case.settings
    gpus = settings.tensor_ranks * settings.pipeline_ranks
    product = planned.offer.product or planned.case.gpu.product
    return f"{gpus} x {product}" if gpus > 1 else product


def _name_nodes(offer: Offer) -> str:
    shown, more = offer.nodes[:_SHOWN_NODES], len(offer.nodes) - _SHOWN_NODES
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def gib(count: int) -> str:
    """Bytes for people."""
    return f"{count / GIB:.2f} GiB"
