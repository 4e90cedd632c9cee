"""The smallest change of each kind with which an engine would start: each is planned like the first. Pure."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from triton_vllm_operator.api.engine import MAX_GPUS
from triton_vllm_operator.memory.cache import count_blocks
from triton_vllm_operator.memory.encoder import smaller_sizes
from triton_vllm_operator.memory.plan import Plan, find_batch, make_plan
from triton_vllm_operator.memory.products import load_products
from triton_vllm_operator.memory.settings import MANY, EngineSettings, Gpu
from triton_vllm_operator.memory.verdict import Judged, Verdict, find_misfit, judge, utilization_ceilings
from triton_vllm_operator.sources.shape import ModelShape

_STEP: Final = 0.01
_LEAST_UTILIZATION: Final = 50
"""Per cent: an engine that may use less is no remedy."""
_LEAST_SEQUENCES: Final = 8
"""At once: an engine for fewer is no remedy."""
_RANKS: Final = (2, 4, 8, 16)
_EXTRA: Final = "spec.engine.extraArgs"
LEAST_LENGTH: Final = 256
"""Tokens: an engine for shorter sequences is no remedy."""


@dataclass(frozen=True, slots=True)
class Case:
    """A start that is planned."""

    shape: ModelShape
    settings: EngineSettings
    gpu: Gpu
    length: int
    with_server: bool = True
    correction: int = 0
    """Bytes by which the cache of an engine like it was larger than planned."""
    chooses_length: bool = False
    """Whether the engine takes the longest sequence that fits: it is no matter then how closely that one does."""

    def plan(self) -> Plan:
        """What the engine would allocate."""
        return make_plan(self.shape, self.settings, self.gpu, self.length, self.correction)

    def judge(self, plan: Plan) -> Judged:
        """Whether it would start by that plan of it."""
        judged = judge(self.shape, plan, self.settings, self.gpu, self.with_server)
        is_chosen = self.chooses_length and plan.length > LEAST_LENGTH and not judged.doubt
        return replace(judged, verdict=Verdict.FITS) if judged.verdict is Verdict.TIGHT and is_chosen else judged


Starts = Callable[[Case], bool]
"""Whether a change of the case would do."""


@dataclass(frozen=True, slots=True)
class Advice:
    """One change."""

    text: str
    case: Case
    is_tight: bool = False


def with_longest_that_fits(case: Case) -> Case:
    """The case as an engine plans it that chooses its longest sequence by the memory (max_model_len -1)."""
    settings = replace(case.settings, measured_length=case.length)
    case = replace(case, chooses_length=True, settings=settings)
    if case.plan().fits:
        return case
    shorter = _shorter(case, lambda each: each.plan().fits)
    return shorter.case if shorter is not None else replace(case, length=min(case.length, LEAST_LENGTH))


def find_advice(case: Case) -> tuple[Advice, ...]:
    """Changes that would do, one of each kind; with a word about those with which it would be tight."""
    is_alone = _less_of_the_gpu(case, _fits) is not None
    found = (kind(case, _fits) or _as_tight(kind(case, _starts), is_alone) for kind in _KINDS)
    return tuple(advice for advice in found if advice is not None)


def _as_tight(advice: Advice | None, is_alone: bool) -> Advice | None:
    """With a smaller share of the GPU where that makes it certain; `is_alone` is whether that does by itself."""
    if advice is None:
        return None
    surer = None if is_alone else _less_of_the_gpu(advice.case, _fits)
    if surer is None:
        return replace(advice, text=f"{advice.text} (tight)", is_tight=True)
    return Advice(f"{advice.text} with gpuMemoryUtilization: {surer.case.settings.utilization:g}", surer.case)


def find_longest(length: int, block: int, starts: Callable[[int], bool]) -> int:
    """The longest sequence in whole blocks below a length with which an engine starts; 0 if it is no remedy."""
    low, high = 0, length
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if starts(middle) else (low, middle)
    found = low // block * block
    return found if found >= LEAST_LENGTH and starts(found) else 0


def _shorter(case: Case, starts: Starts) -> Advice | None:
    length = find_longest(case.length, case.settings.block_tokens, lambda length: starts(replace(case, length=length)))
    return Advice(f"spec.engine.maxModelLen: {length}", replace(case, length=length)) if length else None


def _fewer_sequences(case: Case, starts: Starts) -> Advice | None:
    """Which leaves more for the cache, and needs fewer blocks for states."""
    now = find_batch(case.settings, case.gpu).sequences
    plan = case.plan()
    blocks = count_blocks(plan.layout, plan.cache.low) if plan.layout.keeps_states else 0
    for count in (blocks, *(now >> halves for halves in range(1, now.bit_length()))):
        changed = replace(case, settings=replace(case.settings, sequences=count))
        if _LEAST_SEQUENCES <= count < now and starts(changed):
            return Advice(f"spec.engine.maxNumSeqs: {count}", changed)
    return None


def _more_of_the_gpu(case: Case, starts: Starts) -> Advice | None:
    ceiling, _ = utilization_ceilings(case.settings, case.gpu, case.with_server)
    least, most = math.ceil(case.settings.utilization / _STEP) + 1, math.floor(ceiling / _STEP)
    for hundredths in range(least, most + 1):
        settings = replace(case.settings, utilization=hundredths / 100)
        if starts(changed := replace(case, settings=settings)):
            return Advice(f"spec.engine.gpuMemoryUtilization: {hundredths / 100:g}", changed)
    return None


def _less_of_the_gpu(case: Case, starts: Starts) -> Advice | None:
    judged = case.judge(case.plan())
    if not judged.exceeds_ceiling and not judged.doubt:
        return None
    most = math.ceil(min(case.settings.utilization, judged.ceiling) / _STEP)
    for hundredths in range(most - 1, _LEAST_UTILIZATION, -1):
        settings = replace(case.settings, utilization=hundredths / 100)
        if starts(changed := replace(case, settings=settings)):
            return Advice(f"spec.engine.gpuMemoryUtilization: {hundredths / 100:g}", changed)
    return None


def _smaller_cache(case: Case, starts: Starts) -> Advice | None:
    changed = replace(case, settings=replace(case.settings, cache_bytes=1))
    if case.settings.cache_bytes == 1 or not starts(changed):
        return None
    return Advice("spec.engine.kvCacheDtype: fp8", changed)


def _smaller_images(case: Case, starts: Starts) -> Advice | None:
    """No videos, where these are larger, or images of fewer pixels."""
    vision, seeing = case.shape.vision, case.settings.seeing
    if vision is None or not seeing.images:
        return None
    images = f"image: {seeing.images}, " if seeing.images != MANY else ""
    for text, changed in (
        (f"{_EXTRA}.limit_mm_per_prompt: {{{images}video: 0}}", replace(seeing, videos=0)),
        *(
            (f"{_EXTRA}.mm_processor_kwargs: {{max_pixels: {pixels}}}", replace(seeing, max_pixels=pixels))
            for pixels in smaller_sizes(vision, seeing)
        ),
    ):
        smaller = replace(case, settings=replace(case.settings, seeing=changed))
        if changed != seeing and starts(smaller):
            return Advice(text, smaller)
    return None


def _other_loader(case: Case, starts: Starts) -> Advice | None:
    changed = replace(case, settings=replace(case.settings, staged_files=0))
    if not case.settings.staged_files or not starts(changed):
        return None
    return Advice("spec.engine.extraArgs.load_format: auto", changed)


def _other_gpus(case: Case, starts: Starts) -> Advice | None:
    most, now = MAX_GPUS // case.settings.pipeline_ranks, case.settings.tensor_ranks
    # Ranks that do not divide the model may be too many.
    fewer = (1, *_RANKS) if find_misfit(case.shape, case.settings) else ()
    for ranks in (*(ranks for ranks in fewer if ranks < now), *(ranks for ranks in _RANKS if now < ranks <= most)):
        if starts(changed := replace(case, settings=replace(case.settings, tensor_ranks=ranks), correction=0)):
            return Advice(f"spec.engine.tensorParallelSize: {ranks}", changed)
    return None


def _quantised(case: Case, starts: Starts) -> Advice | None:
    changed = replace(case, settings=replace(case.settings, quantises=True), correction=0)
    if case.settings.quantises or changed.plan().weights == case.plan().weights or not starts(changed):
        return None
    return Advice("spec.engine.quantization: fp8", changed)


def _another_gpu(case: Case, starts: Starts) -> Advice | None:
    for product in sorted(load_products(), key=lambda each: each.bytes):
        changed = replace(case, gpu=Gpu(product.product, product.bytes), correction=0)
        if product.bytes > case.gpu.total_bytes and product.names and starts(changed):
            return Advice(f"a GPU of {product.names[0]}'s size", changed)
    return None


_KINDS: Final[tuple[Callable[[Case, Starts], Advice | None], ...]] = (
    _fewer_sequences,
    _shorter,
    _more_of_the_gpu,
    _less_of_the_gpu,
    _smaller_cache,
    _smaller_images,
    _other_loader,
    _other_gpus,
    _quantised,
    _another_gpu,
)


def _fits(case: Case) -> bool:
    """Whether it fits without a doubt."""
    return case.judge(case.plan()).verdict is Verdict.FITS


def _starts(case: Case) -> bool:
    """Whether it fits as expected, and not only with luck."""
    plan = case.plan()
    return case.judge(plan).verdict is not Verdict.DOES_NOT_FIT and plan.fits


def what_if(case: Case) -> Iterator[Advice]:
    """Other settings worth comparing, whether they fit or not."""
    for ranks in (1, *_RANKS[:3]):
        if ranks != case.settings.tensor_ranks and case.shape.heads % ranks == 0:
            yield Advice(
                f"tensorParallelSize {ranks}",
                replace(case, settings=replace(case.settings, tensor_ranks=ranks), correction=0),
            )
    if case.settings.cache_bytes != 1:
        yield Advice("kvCacheDtype fp8", replace(case, settings=replace(case.settings, cache_bytes=1)))
    if not case.settings.quantises:
        yield Advice("quantization fp8", replace(case, settings=replace(case.settings, quantises=True), correction=0))
    for part in (part for part in (2, 4) if case.length >= part):
        yield Advice(f"maxModelLen {case.length // part}", replace(case, length=case.length // part))
