"""What an engine will do with a GPU: the same sums in the same order as its version of vLLM. Pure.

https://github.com/vllm-project/vllm/blob/main/vllm/v1/worker/gpu_worker.py (determine_available_memory)
"""

import math
from dataclasses import dataclass

from triton_vllm_operator.memory.amounts import Range, exactly
from triton_vllm_operator.memory.cache import CacheLayout, blocks_of_sequence, count_blocks, count_tokens, lay_out
from triton_vllm_operator.memory.drafts import maybe_shared_bytes
from triton_vllm_operator.memory.overheads import activation_peak, beside_torch, graphs_reserve
from triton_vllm_operator.memory.settings import EngineSettings, Gpu
from triton_vllm_operator.memory.versions import BatchClass, load_tables, row_of
from triton_vllm_operator.memory.weights import load_peaks, made_with_model, weights_by_rank
from triton_vllm_operator.sources.shape import ModelShape


@dataclass(frozen=True, slots=True)
class Plan:
    """The GPU of one rank: that with the least left for the cache, which decides for all."""

    requested: int
    """Bytes: the utilization's share of the GPU."""
    weights: int
    load_peak: int
    """Bytes while weights are loaded, before anything else is there."""
    activations: Range
    beside_torch: Range
    graphs: Range
    cache: Range
    """Bytes that are left for the KV cache."""
    layout: CacheLayout
    length: int
    """Tokens of the longest sequence."""
    tokens: Range
    """What the engine's line of tokens will say."""
    sequence_bytes: int
    """That one sequence of the longest length takes."""
    least_cache: int
    """Bytes of the smallest cache with which the engine starts: one sequence, and what its version keeps back."""

    @property
    def fits(self) -> bool:
        """Whether one sequence of the longest length has room, as expected."""
        return self.cache.expected >= self.least_cache


def make_plan(shape: ModelShape, settings: EngineSettings, gpu: Gpu, length: int, correction: int = 0) -> Plan:
    """The plan of the rank that decides.

    `length` is the longest sequence, in tokens. `correction` is by how many bytes the cache of an engine like it was
    larger than planned.
    """
    start = _Start(shape, settings, gpu, length, find_batch(settings, gpu), correction)
    made = made_with_model(shape, settings, start.batch)
    weights = tuple(size + made for size in weights_by_rank(shape, settings))
    peaks = load_peaks(shape, settings, weights)
    plans = [_plan_stage(start, stage, *sizes) for stage, sizes in enumerate(zip(weights, peaks, strict=True))]
    return min(plans, key=lambda plan: plan.tokens.expected)


@dataclass(frozen=True, slots=True)
class _Start:
    """What is planned, for all stages."""

    shape: ModelShape
    settings: EngineSettings
    gpu: Gpu
    length: int
    batch: BatchClass
    correction: int


def find_batch(settings: EngineSettings, gpu: Gpu) -> BatchClass:
    """How many tokens and sequences go through the engine at once: the user's, else the version's defaults."""
    default = row_of(load_tables().batch, settings.vllm).find(gpu.total_bytes, gpu.product, gpu.is_slice)
    tokens = settings.batched_tokens or default.tokens
    # https://github.com/vllm-project/vllm/blob/main/vllm/v1/worker/gpu_model_runner.py (profile_run): one token each.
    return BatchClass(tokens=tokens, sequences=min(settings.sequences or default.sequences, tokens))


def _plan_stage(start: _Start, stage: int, weights: int, load_peak: int) -> Plan:
    shape, settings, gpu, length, batch = start.shape, start.settings, start.gpu, start.length, start.batch
    requested = math.ceil(gpu.total_bytes * settings.utilization)
    layout = lay_out(shape, settings, stage)
    measured = settings.measured_length or length
    activations = activation_peak(shape, settings, batch, measured, layout.block_tokens, gpu.total_bytes)
    beside = beside_torch(settings)
    graphs = graphs_reserve(shape, settings, batch)
    doubt = int(gpu.doubt_bytes * settings.utilization)
    is_last = stage == settings.pipeline_ranks - 1
    copies = maybe_shared_bytes(shape, settings) if is_last else 0
    taken = activations + beside + graphs + Range(-doubt, 0, doubt + copies)
    cache = taken.taken_from(requested - weights + start.correction)
    if settings.fixed_cache is not None:
        cache = exactly(settings.fixed_cache)
    blocks = blocks_of_sequence(layout, length, batch.tokens, settings.vllm)
    kept_back = int(row_of(load_tables().null_block, settings.vllm).is_counted)

    def tokens(available: int) -> int:
        return count_tokens(layout, count_blocks(layout, available), length, batch.tokens, settings.vllm)

    return Plan(
        requested=requested,
        weights=weights,
        load_peak=load_peak,
        activations=activations,
        beside_torch=beside,
        graphs=graphs,
        cache=cache,
        layout=layout,
        length=length,
        tokens=Range(tokens(cache.low), tokens(cache.expected), tokens(cache.high)),
        sequence_bytes=blocks * layout.block_bytes,
        least_cache=(blocks + kept_back) * layout.block_bytes,
    )
