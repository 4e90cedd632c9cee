"""What a start of an LLMDeployment taught about its memory: its plan beside what the engine measured. Pure."""

from dataclasses import dataclass
from typing import Final

from triton_vllm_operator.api.status import (
    MOST_MEASURED,
    Amount,
    LLMDeploymentStatus,
    MeasuredMemory,
    MemoryStatus,
    PlanErrors,
    PlanResult,
    PredictedMemory,
)
from triton_vllm_operator.manifests.revision import Revision
from triton_vllm_operator.memory.learned import EDITION, Learned
from triton_vllm_operator.memory.measured import read_measured
from triton_vllm_operator.memory.reading import find_shape, settings_of_spec
from triton_vllm_operator.reconcile.model import News, Observed

PLAN_MISSED: Final = "MemoryPlanMissed"


def find_learned(observed: Observed, spec_revision: str | None) -> Learned | None:
    """What the revision taught that the status speaks of. `spec_revision` is what is planned; None for a new spec.

    A revision's own plan stays as it was made: it is what was measured against.
    """
    status = observed.resource.status
    running = next((each for each in observed.revisions if each.name == status.revision), None)
    found = status.memory_plan
    if running is None or found is None or found.predicted is None or found.predicted.edition != EDITION:
        return None
    made_with = found.predicted.correction_bytes or 0
    measured = found.measured.kv_cache_bytes if found.measured else None
    # A plan without any room stands as 0, and a log may hold any number.
    is_comparable = found.predicted.kv_cache_bytes.expected > 0 and bool(measured)
    if running.name == spec_revision or measured is None or not is_comparable or not _is_of_one_gpu(found.predicted):
        return _learn(running, found.predicted, made_with)
    return _learn(running, found.predicted, measured - found.predicted.kv_cache_bytes.expected + made_with)


def _is_of_one_gpu(predicted: PredictedMemory) -> bool:
    """Whether what a pod measured is of the GPU that was planned for: it may run on any that its pods may get."""
    return predicted.gpu_kinds == 1


def _learn(revision: Revision, predicted: PredictedMemory, correction: int) -> Learned | None:
    shape = find_shape(revision.sources)
    if shape is None or not correction:
        return None
    return Learned(shape, settings_of_spec(revision.spec, revision.runtime.vllm, shape), predicted.gpu, correction)


def wants_to_hear(status: LLMDeploymentStatus, pod: str) -> bool:
    """Whether a pod that serves has not been asked what its engine is and allocated: the first, and those beside it."""
    if status.engine is None or status.engine.running is None:
        return True
    found = status.memory_plan
    heard = (found.measured_pods or ()) if found is not None else ()
    # An engine whose log said nothing of memory is like the others.
    return bool(heard) and pod not in heard and len(heard) < MOST_MEASURED


def fullest(before: MeasuredMemory | None, now: MeasuredMemory | None) -> MeasuredMemory | None:
    """That with the smaller cache."""
    if before is None or now is None:
        return before or now
    held, found = before.kv_cache_tokens, now.kv_cache_tokens
    return now if held is None or (found is not None and found < held) else before


def compare(predicted: PredictedMemory | None, measured: MeasuredMemory | None) -> PlanErrors | None:
    """By how much a plan was off; None if there is nothing to compare."""
    if predicted is None or measured is None or not _is_of_one_gpu(predicted):
        return None
    weights = _percent(predicted.weights_bytes, measured.weights_bytes)
    tokens, counted = predicted.kv_cache_tokens, measured.kv_cache_tokens
    off = _percent(tokens.expected, counted)
    if weights is None and off is None:
        return None
    return PlanErrors(
        weights_percent=weights,
        kv_cache_tokens_percent=off,
        result=None if counted is None else _find_result(tokens, counted),
    )


@dataclass(frozen=True, slots=True)
class Compared:
    """A start that was measured now, beside its plan."""

    predicted: PredictedMemory
    tokens: int

    @property
    def error(self) -> float | None:
        """Of the plan, as a part of what was measured."""
        return self.predicted.kv_cache_tokens.expected / self.tokens - 1 if self.tokens else None


def compare_now(observed: Observed, found: MemoryStatus | None) -> Compared | None:
    """The plan, and the tokens that the pod said which was asked now; None if none was, or nothing was planned."""
    predicted = found.predicted if found is not None else None
    if observed.inspection is None or predicted is None or not _is_of_one_gpu(predicted):
        return None
    measured = read_measured(observed.inspection.log)
    return Compared(predicted, measured.tokens) if measured is not None and measured.tokens is not None else None


def find_news(compared: Compared | None, revision: str) -> tuple[News, ...]:
    """That a start which was measured now is not what was planned."""
    if compared is None:
        return ()
    planned = compared.predicted.kv_cache_tokens
    # A plan that is exact, as on a CPU, leaves no room for a block more or less.
    if planned.low == planned.high or _find_result(planned, compared.tokens) is PlanResult.MET:
        return ()
    message = (
        f"the KV cache holds {compared.tokens:,} tokens, and {planned.low:,} to {planned.high:,} were planned for "
        f"{compared.predicted.gpu}; the next plan starts from what was measured"
    )
    return (News(PLAN_MISSED, message, revision),)


def _find_result(amount: Amount, count: int) -> PlanResult:
    return PlanResult.MET if amount.low <= count <= amount.high else PlanResult.MISSED


def _percent(planned: int | None, measured: int | None) -> str | None:
    if planned is None or not measured:
        return None
    return f"{100 * (planned / measured - 1):.2f}"
