"""Whether an engine will start by its plan. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from triton_vllm_operator.memory.cache import count_blocks
from triton_vllm_operator.memory.drafts import find_draft_misfit
from triton_vllm_operator.memory.encoder import encoder_pass, is_measured
from triton_vllm_operator.memory.overheads import graphs_taken
from triton_vllm_operator.memory.plan import Plan, find_batch
from triton_vllm_operator.memory.settings import EngineSettings, Gpu
from triton_vllm_operator.memory.versions import GIB, load_tables, row_of
from triton_vllm_operator.memory.weights import padded_vocabulary, staged_bytes
from triton_vllm_operator.sources.shape import Attention, ModelShape, State

_TIGHT: Final = 1.05
_CONTEXT: Final = (0.51, 0.51)
_CONTEXT_OF_RANKS: Final = (0.51, 2.0)
"""GiB that the engine's own process holds before it looks at the GPU, least and most; with communicators."""
_SERVER: Final = 588 * 2**20
"""Bytes of Triton's own on each GPU that it sees: measured, gpu-turn2.md."""
_MEASURED: Final = 70 * GIB
"""What a process holds was measured on GPUs from this size on; on smaller ones it is less."""
_LEAST_CONTEXT: Final = 0.15
_LEAST_SERVER: Final = 150 * 2**20


class Verdict(StrEnum):
    """What comes of a start."""

    FITS = "Fits"
    TIGHT = "Tight"
    """Within 5 % of what is needed, or within the plan's own doubt."""
    DOES_NOT_FIT = "DoesNotFit"


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict and the numbers that it rests on."""

    verdict: Verdict
    ceiling: float
    """The utilization above which no engine starts on this GPU."""
    exceeds_ceiling: bool
    """Whether the utilization is certainly above it."""
    misfit: str = ""
    """What is refused whatever room there is for one sequence; empty if nothing is."""
    doubt: str = ""
    """Why it is tight though one sequence has room; empty if that room is what is tight."""


def judge(shape: ModelShape, plan: Plan, settings: EngineSettings, gpu: Gpu, with_server: bool = True) -> Judged:
    """Whether one sequence of the longest length has room, and the engine may ask for what it does."""
    doubtful, ceiling = utilization_ceilings(settings, gpu, with_server)
    exceeds = settings.utilization > ceiling
    refused = find_misfit(shape, settings) or find_draft_misfit(shape, settings)
    refused = refused or _find_load_misfit(shape, plan, settings, gpu, ceiling)
    refused = refused or _find_lacking_blocks(plan, settings, gpu, plan.cache.high)
    if refused:
        return Judged(Verdict.DOES_NOT_FIT, ceiling, exceeds, refused)
    if exceeds or plan.cache.high < plan.least_cache:
        return Judged(Verdict.DOES_NOT_FIT, ceiling, exceeds)
    if plan.cache.low < plan.least_cache * _TIGHT:
        return Judged(Verdict.TIGHT, ceiling, exceeds)
    doubt = _find_lacking_blocks(plan, settings, gpu, plan.cache.low)
    doubt = doubt or _find_need_outside(shape, plan, settings, gpu, doubtful)
    return Judged(Verdict.TIGHT if doubt else Verdict.FITS, ceiling, exceeds, doubt=doubt)


def _find_need_outside(shape: ModelShape, plan: Plan, settings: EngineSettings, gpu: Gpu, ceiling: float) -> str:
    """What the cache leaves no room for goes into what the utilization leaves of the GPU: graphs, then images."""
    batch = find_batch(settings, gpu)
    captured = graphs_taken(shape, settings, batch).expected - plan.graphs.expected
    outside = int((ceiling - settings.utilization) * gpu.total_bytes)
    if outside < captured:
        return _say_need(settings, outside, "CUDA graphs need", captured)
    if is_measured(settings):
        return ""
    images = encoder_pass(shape, settings, batch, plan.length, gpu.total_bytes).peak.expected
    # Between its own passes the language model's room is free.
    lacking = images - plan.activations.expected
    if lacking > outside - captured:
        return _say_need(settings, outside - captured, "images, with which it does not measure itself, need", lacking)
    return ""


def _say_need(settings: EngineSettings, outside: int, what: str, taken: int) -> str:
    left = max(0, outside) / GIB
    return (
        f"beside gpuMemoryUtilization {settings.utilization:g} no more than {left:.2f} GiB of the GPU may be free, "
        f"and {what} about {taken / GIB:.2f} GiB there"
    )


def _find_load_misfit(shape: ModelShape, plan: Plan, settings: EngineSettings, gpu: Gpu, ceiling: float) -> str:
    """Why weights cannot be loaded that would fit once they are; empty if they can, or would not."""
    free = int(ceiling * (gpu.total_bytes + gpu.doubt_bytes))
    if plan.load_peak <= free or plan.weights > free:
        return ""
    sizes = f"{plan.load_peak / GIB:.2f} GiB, and {free / GIB:.2f} GiB of an empty GPU are free"
    if 2 * staged_bytes(shape, settings) > plan.load_peak - plan.weights:
        return f"load_format fastsafetensors lays whole files on the GPU beside the weights: that takes {sizes}"
    return f"this version quantises weights after it has loaded them: that takes {sizes}"


def _find_lacking_blocks(plan: Plan, settings: EngineSettings, gpu: Gpu, cache: int) -> str:
    """Why CUDA graphs are not captured: each sequence needs a block for its state.

    https://github.com/vllm-project/vllm/issues/34094
    """
    if settings.is_eager or not plan.layout.keeps_states:
        return ""
    blocks, sequences = count_blocks(plan.layout, cache), find_batch(settings, gpu).sequences
    if not 0 < blocks < sequences or not row_of(load_tables().states, settings.vllm).needs_a_block_each:
        return ""
    return f"each of maxNumSeqs {sequences} sequences needs a block for its state, and the cache has {blocks}"


def find_misfit(shape: ModelShape, settings: EngineSettings) -> str:
    """What the ranks do not divide, which vLLM refuses before it touches a GPU."""
    ranks, vocabulary = settings.tensor_ranks, padded_vocabulary(shape)
    state = shape.state or State()
    attends = any(kind.attention is not Attention.NONE for kind in shape.kinds)
    parts = [f"{shape.heads} attention heads"] if attends and shape.heads % ranks else []
    parts += [f"{state.heads} heads of states"] if state.heads % ranks else []
    # One group is repeated on each rank.
    parts += [f"{state.groups} groups of states"] if state.groups > 1 and state.groups % ranks else []
    parts += [f"vocabulary of {vocabulary}"] if vocabulary % ranks else []
    return f"spec.engine.tensorParallelSize {ranks} does not divide the {' and the '.join(parts)}" if parts else ""


def utilization_ceilings(settings: EngineSettings, gpu: Gpu, with_server: bool) -> tuple[float, float]:
    """What is free of an empty GPU when the engine looks at it, as a fraction, at least and at most.

    It may ask for no more: https://github.com/vllm-project/vllm/blob/main/vllm/v1/worker/utils.py (request_memory).
    """
    has_ranks = settings.tensor_ranks * settings.pipeline_ranks > 1
    least, most = _CONTEXT_OF_RANKS if has_ranks else _CONTEXT
    server = _SERVER if with_server else 0
    total = gpu.total_bytes + gpu.doubt_bytes
    if gpu.is_slice or gpu.total_bytes < _MEASURED:
        least, least_server = _LEAST_CONTEXT, min(server, _LEAST_SERVER)
    else:
        least_server = server
    return (total - most * GIB - server) / total, (total - least * GIB - least_server) / total
