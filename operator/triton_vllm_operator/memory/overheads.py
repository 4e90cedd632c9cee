"""What an engine takes beside weights and cache: the peak of its first passes, what is not torch's, CUDA graphs. Pure.

How much is fitted to starts that are recorded in tests/perf/starts; the rest of the range is what they leave open.
"""

from typing import Final

from triton_vllm_operator.memory.amounts import Range, around, exactly
from triton_vllm_operator.memory.drafts import find_draft
from triton_vllm_operator.memory.encoder import measured_pass
from triton_vllm_operator.memory.settings import EngineSettings, Runner
from triton_vllm_operator.memory.versions import GIB, BatchClass, load_tables, row_of
from triton_vllm_operator.sources.shape import Attention, ModelShape

_BESIDE_SAMPLER: Final = (0.1, 0.0)
"""GiB beside the logits, with the first runner and with the second."""
_HIDDEN_TIMES: Final = (1.15, 2.0)
"""How many times the hidden states of a batch are held beside them."""
_GUESSING_TIMES: Final = 3.5
"""The same of a batch for which the second runner guesses: fitted to two starts of 0.24.0."""
_BESIDE_HEAD: Final = 0.04
"""GiB, beside a copy of the head, with the first runner; with the second it is the hidden states."""
_LAYER_HIDDEN_TIMES: Final = 3.75
_LAYER_INNER_TIMES: Final = 3
"""How many times a feed-forward holds the hidden states of a batch, and what lies between its halves."""
_QUERY_TIMES: Final = 1.25
"""How large queries (192) and results (128) of a token are, beside its keys and values (256): of DeepSeek's heads."""
_UNSURE: Final = 0.1
"""GiB by which recorded starts of dense models differ from the formula; of others it is more."""
_UNSURE_WORKSPACE: Final = 0.4
"""Part of the workspace of experts: other kernels take other sizes."""
_LEAST_SURE: Final = 0.4
"""GiB by which a pass that is larger than the sampler's may be smaller than it is counted."""
_GRAPHS: Final = (0.2, 0.5, 1.1)
"""GiB for CUDA graphs: the engine's own estimate is an extrapolation and jumps."""
_GRAPHS_OF_SPLITS: Final = 0.16
"""GiB of a set of graphs beside results that are held in parts; there are two where tokens are guessed."""
_CAPTURED: Final = 512
"""Tokens of the largest graph (vllm/config/vllm.py, max_cudagraph_capture_size)."""
_SPLITS: Final = 32
"""Parts (vllm/config/attention.py, flash_attn_max_num_splits_for_cuda_graph)."""
_SPLIT_BYTES: Final = 4


def activation_peak(
    shape: ModelShape, settings: EngineSettings, batch: BatchClass, length: int, block: int, gpu_bytes: int
) -> Range:
    """The peak of the passes by which the engine measures itself, on the rank that has the sampler.

    `length` is the longest sequence and `block` what the cache gives out at once, in tokens; `gpu_bytes` the whole GPU.
    """
    workspace = max(_experts_workspace(shape, settings, batch), _index_workspace(shape, settings, length))
    sampler, others = _sampler_pass(shape, settings, batch), _other_passes(shape, settings, batch, length, block)
    others += _held_for_guesses(shape, settings, batch)
    is_kept = row_of(load_tables().experts, settings.vllm).kept and not _has_packed_experts(shape, settings)
    if is_kept:
        expected = max(sampler, others) + workspace
    else:
        expected = max(sampler, others, workspace + _held_hidden(shape, settings, batch))
    unsure = _UNSURE * GIB + _UNSURE_WORKSPACE * workspace
    least = max(min(sampler, expected), expected - _LEAST_SURE * GIB)
    language = Range(int(max(0, least - unsure)), int(expected), int(expected + unsure))
    encoder = measured_pass(shape, settings, batch, length, gpu_bytes)
    # What sees comes first, and leaves its results.
    return encoder.peak.or_more(language + exactly(encoder.held))


def _sampler_pass(shape: ModelShape, settings: EngineSettings, batch: BatchClass) -> float:
    """The logits of all sequences."""
    is_second = settings.runner is Runner.V2
    row = row_of(load_tables().sampler, settings.vllm)
    first = row.guessing if settings.guesses else row.bytes
    logits = shape.vocabulary * batch.sequences * (row.second_bytes if is_second else first)
    return logits + _BESIDE_SAMPLER[is_second] * GIB + _held_hidden(shape, settings, batch)


def _other_passes(shape: ModelShape, settings: EngineSettings, batch: BatchClass, length: int, block: int) -> float:
    """A copy of the head, which few sequences leave larger than their logits; one feed-forward, one attention.

    With the first runner, models that see make no copy: they are given embeddings and not tokens.
    """
    hidden = _hidden_states(1, shape, settings, batch)
    beside = 2 * hidden if settings.runner is Runner.V2 else _BESIDE_HEAD * GIB
    is_given = shape.sees and settings.runner is Runner.V1
    rows = 0 if is_given else shape.vocabulary // settings.tensor_ranks
    head = rows * shape.hidden_size * settings.dtype_bytes + beside
    latent = _latent_pass(shape, settings, batch, length, block)
    if shape.experts is not None or not shape.inner_size:
        return max(head, latent)
    inner = batch.tokens * shape.inner_size // settings.tensor_ranks * settings.dtype_bytes
    return max(head, latent, _LAYER_INNER_TIMES * inner + _LAYER_HIDDEN_TIMES * hidden)


def _latent_pass(shape: ModelShape, settings: EngineSettings, batch: BatchClass, length: int, block: int) -> float:
    """Keys and values that are multiplied out of what is compressed, with queries and results.

    https://github.com/vllm-project/vllm/blob/main/vllm/model_executor/layers/attention/mla_attention.py
    (determine_chunked_prefill_workspace_size)
    """
    expanded = max(kind.expanded for kind in shape.kinds)
    most = row_of(load_tables().latent, settings.vllm).expanded_tokens
    if not expanded or not most:
        return 0
    # At least a block for each sequence, which is large where layers keep states.
    tokens = max(min(max(8 * length, 4 * batch.sequences * block), most), batch.sequences * block)
    elements = (tokens + _QUERY_TIMES * batch.tokens) * shape.heads // settings.tensor_ranks * expanded
    return (elements + 2 * batch.tokens * shape.hidden_size) * settings.dtype_bytes


def _held_for_guesses(shape: ModelShape, settings: EngineSettings, batch: BatchClass) -> float:
    """Hidden states that the second runner holds while tokens are guessed; those of further layers twice."""
    draft = find_draft(shape, settings)
    if draft is None or settings.runner is not Runner.V2:
        return 0
    return _hidden_states(_GUESSING_TIMES + 2 * draft.further_states, shape, settings, batch)


def _held_hidden(shape: ModelShape, settings: EngineSettings, batch: BatchClass) -> float:
    return _hidden_states(_HIDDEN_TIMES[settings.runner is Runner.V2], shape, settings, batch)


def _hidden_states(times: float, shape: ModelShape, settings: EngineSettings, batch: BatchClass) -> float:
    """So many times those of a batch."""
    return times * batch.tokens * shape.hidden_size * settings.dtype_bytes


def _experts_workspace(shape: ModelShape, settings: EngineSettings, batch: BatchClass) -> int:
    """What a mixture computes its experts in: both halves of each, for all tokens of a batch.

    https://github.com/vllm-project/vllm/blob/main/vllm/model_executor/layers/fused_moe (workspace_shapes)
    """
    if shape.experts is None:
        return 0
    size = shape.experts.size // settings.tensor_ranks
    between = max(size, shape.hidden_size) + max(2 * size, shape.hidden_size)
    return batch.tokens * shape.experts.per_token * between * settings.dtype_bytes


def _index_workspace(shape: ModelShape, settings: EngineSettings, length: int) -> int:
    """In which the tokens are gathered that an index looks through (get_max_prefill_buffer_size).

    https://github.com/vllm-project/vllm/blob/main/vllm/v1/attention/backends/mla/indexer.py
    """
    index = max(kind.index for kind in shape.kinds)
    return row_of(load_tables().sparse, settings.vllm).lengths * length * index


def _has_packed_experts(shape: ModelShape, settings: EngineSettings) -> bool:
    """Whether other kernels compute them, which keep nothing and adapt nothing: those of mxfp4."""
    return shape.experts is not None and shape.is_quantised and not settings.adapters


def beside_torch(settings: EngineSettings) -> Range:
    """What is not torch's, on each rank."""
    row = row_of(load_tables().beside_torch, settings.vllm)
    if settings.tensor_ranks > 1:
        low, expected, high = (int(amount * GIB) for amount in row.several)
        return Range(low, expected, high)
    if settings.pipeline_ranks > 1:
        return around(row.pipelined * GIB, 0.07 * GIB, 0.25 * GIB)
    return around(row.alone * GIB, 0.12 * GIB, 0.25 * GIB)


def graphs_reserve(shape: ModelShape, settings: EngineSettings, batch: BatchClass) -> Range:
    """What the cache leaves free for CUDA graphs."""
    row = row_of(load_tables().graphs, settings.vllm)
    is_reserved = row.reserved_by_second if settings.runner is Runner.V2 else row.reserved
    return graphs_taken(shape, settings, batch) if is_reserved else exactly(0)


def graphs_taken(shape: ModelShape, settings: EngineSettings, batch: BatchClass) -> Range:
    """What capturing them takes, after the cache is there."""
    if settings.is_eager:
        return exactly(0)
    low, expected, high = (int(amount * GIB) for amount in _GRAPHS)
    sets = 2 if settings.guesses else 1
    split = sets * _split_results(shape, settings, batch)
    beside = sets * int(_GRAPHS_OF_SPLITS * GIB)
    return Range(low, split + beside if split else expected, high + split)


def _split_results(shape: ModelShape, settings: EngineSettings, batch: BatchClass) -> int:
    """Results of attention in parts, which graphs hold where keys and values are compressed (on Hopper).

    https://github.com/vllm-project/vllm/blob/main/vllm/v1/attention/backends/mla/flashattn_mla.py (max_num_splits)
    """
    # Other kernels look at what an index found.
    latent = (kind for kind in shape.kinds if kind.attention is Attention.LATENT and not kind.index)
    size = max((kind.size - kind.rotary for kind in latent), default=0)
    tokens = min(_CAPTURED, 2 * batch.sequences * (1 + settings.guesses))
    return _SPLITS * tokens * shape.heads // settings.tensor_ranks * size * _SPLIT_BYTES
