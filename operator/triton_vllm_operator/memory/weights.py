"""The bytes of weights on each rank. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from triton_vllm_operator.memory.drafts import draft_layers, draft_rows
from triton_vllm_operator.memory.settings import EngineSettings
from triton_vllm_operator.memory.versions import BatchClass, load_tables, row_of
from triton_vllm_operator.sources.shape import Allocation, Attention, Form, LayerKind, ModelShape, expand

_MIB: Final = 2**20
_INDEX_BYTES: Final = 4
"""Of the number of a token that an index found."""
_SMALLEST: Final = 512
"""Bytes: torch's allocator gives nothing smaller."""
_LARGE: Final = 10 * _MIB
_STEP: Final = 2 * _MIB
_VOCABULARY_STEP: Final = 64
"""https://github.com/vllm-project/vllm/blob/main/vllm/model_executor/layers/vocab_parallel_embedding.py."""


def weights_by_rank(shape: ModelShape, settings: EngineSettings) -> tuple[int, ...]:
    """Bytes on each stage of the pipeline; the ranks of tensor parallelism within one hold the same."""
    stages, layers = share_layers(len(expand(shape.weight_pattern)), settings.pipeline_ranks), shape.layers
    return tuple(
        _stage_bytes(shape, settings, stage, number) + _latent_workspace(layers[stage.start : stage.stop], settings)
        for number, stage in enumerate(stages)
    )


def load_peaks(shape: ModelShape, settings: EngineSettings, loaded: tuple[int, ...]) -> tuple[int, ...]:
    """Bytes on each stage while weights are loaded; `loaded` is what they take in the end.

    What is quantised lies there as it is stored before, what is staged in whole files beside its copy:
    https://github.com/vllm-project/vllm/issues/55985, https://github.com/vllm-project/vllm/issues/29403
    """
    staged = staged_bytes(shape, settings)
    stored = replace(settings, quantises=False)
    if settings.quantises and row_of(load_tables().loading, settings.vllm).whole_first:
        return tuple(size + staged for size in weights_by_rank(shape, stored))
    linear = [row for rows in shape.weights for row in rows if row.form is Form.LINEAR] if settings.quantises else []
    largest = max((_share(row, shape, stored) * _element_bytes(row.form, stored) for row in linear), default=0)
    return tuple(size + largest + staged for size in loaded)


def staged_bytes(shape: ModelShape, settings: EngineSettings) -> int:
    """Of whole files that lie on a GPU while weights are loaded; no more than there are."""
    staged = settings.staged_files * shape.largest_file
    return min(staged, shape.all_files) if shape.all_files else staged


def share_layers(layers: int, stages: int) -> tuple[range, ...]:
    """The layers of each stage of the pipeline.

    https://github.com/vllm-project/vllm/blob/main/vllm/distributed/utils.py (get_pp_indices)
    """
    counts = [layers // stages] * stages
    for place in range(2, layers % stages + 2):
        counts[-place] += 1
    starts = [sum(counts[:number]) for number in range(stages)]
    return tuple(range(start, start + count) for start, count in zip(starts, counts, strict=True))


def _stage_bytes(shape: ModelShape, settings: EngineSettings, stage: range, number: int) -> int:
    is_first, is_last = number == 0, number == settings.pipeline_ranks - 1
    pattern = expand(shape.weight_pattern)
    rows: list[Allocation] = [row for layer in stage for row in shape.weights[pattern[layer]]]
    rows += shape.tables
    is_plain = shape.architecture in row_of(load_tables().vision, settings.vllm).plain_tables
    rows += () if is_plain else shape.longer_tables
    rows += shape.first if is_first else ()
    rows += shape.last if is_last else ()
    has_embedding = is_first or (is_last and shape.head_is_tied)
    ends = has_embedding + (is_last and not shape.head_is_tied)
    own = sum(_bytes_of(rows, _count_heads(shape.kinds), settings)) + ends * _vocabulary_bytes(shape, settings)
    own += _draft_bytes(shape, settings) if is_last else 0
    adapted: list[Allocation] = []
    if settings.adapters:
        adapted += [row for layer in stage for row in shape.adapters[pattern[layer]]]
        mixtures = [layer for layer in stage if shape.mixtures and shape.mixtures[pattern[layer]]]
        adapted += _adapted_experts(shape, settings) * len(mixtures)
    return own + sum(_adapter_bytes(adapted, shape, settings, ends if settings.adapters else 0))


def _draft_bytes(shape: ModelShape, settings: EngineSettings) -> int:
    """Of what guesses tokens, whose keys and values have heads of their own."""
    heads = _count_heads(draft_layers(shape, settings))
    return sum(_bytes_of(draft_rows(shape, settings), heads, settings))


def _latent_workspace(layers: Iterable[LayerKind], settings: EngineSettings) -> int:
    has_any = any(layer.attention is Attention.LATENT for layer in layers)
    return row_of(load_tables().latent, settings.vllm).workspace_mib * _MIB if has_any else 0


def _bytes_of(rows: Iterable[Allocation], heads: int, settings: EngineSettings) -> Iterator[int]:
    for row in rows:
        yield row.times * round_up(_share_of(row, heads, settings) * _element_bytes(row.form, settings))


def _share(row: Allocation, shape: ModelShape, settings: EngineSettings) -> int:
    """What one rank holds of an allocation."""
    return _share_of(row, _count_heads(shape.kinds), settings)


def _count_heads(kinds: Iterable[LayerKind]) -> int:
    """Heads of keys and values."""
    return max((kind.heads for kind in kinds if kind.attention is not Attention.LATENT), default=1)


def _share_of(row: Allocation, heads: int, settings: EngineSettings) -> int:
    by_heads = min(settings.tensor_ranks, heads) or 1
    return row.divided // settings.tensor_ranks + row.by_heads // by_heads + row.whole


def _adapter_bytes(rows: Iterable[Allocation], shape: ModelShape, settings: EngineSettings, ends: int) -> Iterator[int]:
    """Room for all adapters at their largest rank, made when the model is loaded; of embedding and head too."""
    vocabulary = (Allocation(Form.FLOAT, divided=shape.vocabulary), Allocation(Form.FLOAT, whole=shape.hidden_size))
    each = settings.adapters * settings.adapter_rank * settings.dtype_bytes
    for row in (*rows, *vocabulary * ends):
        yield row.times * round_up(_share(row, shape, settings) * each)


def _adapted_experts(shape: ModelShape, settings: EngineSettings) -> tuple[Allocation, ...]:
    """What one adapter of rank 1 takes for the experts of one layer: halves of which ranks share out the inner side.

    https://github.com/vllm-project/vllm/blob/main/vllm/lora/layers/fused_moe.py (_create_lora_a_weights)
    """
    experts, row = shape.experts, row_of(load_tables().lora, settings.vllm)
    if experts is None or not row.adapts_experts:
        return ()
    outer, inner = experts.count * shape.hidden_size, experts.count * experts.size
    down = (Allocation(Form.FLOAT, whole=outer), Allocation(Form.FLOAT, divided=inner))
    if shape.architecture in row.fused:
        return (*down, Allocation(Form.FLOAT, whole=outer), Allocation(Form.FLOAT, divided=2 * inner))
    return (*down, Allocation(Form.FLOAT, whole=outer, times=2), Allocation(Form.FLOAT, divided=inner, times=2))


def made_with_model(shape: ModelShape, settings: EngineSettings, batch: BatchClass) -> int:
    """Bytes of buffers for a batch that lie within the line of weights: of sparse attention, of deeper layers' results.

    The numbers of the tokens that an index found, and queries as they are compressed:
    https://github.com/vllm-project/vllm/blob/main/vllm/v1/attention/backends/mla/flashmla_sparse.py (q_concat_buffer)
    """
    levels = shape.vision.levels - 1 if shape.vision is not None else 0
    deep = levels * batch.tokens * shape.hidden_size * settings.dtype_bytes
    if not shape.looked_at:
        return deep
    keeps = row_of(load_tables().sparse, settings.vllm).keeps_queries
    size = max(kind.size for kind in shape.kinds) if keeps else 0
    queries = shape.heads // settings.tensor_ranks * size * settings.dtype_bytes
    return deep + batch.tokens * (shape.looked_at * _INDEX_BYTES + queries)


def _element_bytes(form: Form, settings: EngineSettings) -> int:
    if form is Form.BYTES:
        return 1
    if form is Form.COPY:
        return settings.dtype_bytes if settings.quantises else 0
    return 1 if form is Form.LINEAR and settings.quantises else settings.dtype_bytes


def _vocabulary_bytes(shape: ModelShape, settings: EngineSettings) -> int:
    return round_up(padded_vocabulary(shape) // settings.tensor_ranks * shape.hidden_size * settings.dtype_bytes)


def padded_vocabulary(shape: ModelShape) -> int:
    """Rows of the embedding as the engine holds them."""
    return -(-shape.vocabulary // _VOCABULARY_STEP) * _VOCABULARY_STEP


def round_up(count: int) -> int:
    """What torch's allocator counts for an allocation: of a large one, a rest that it would not split off is lost.

    https://github.com/pytorch/pytorch/blob/main/c10/cuda/CUDACachingAllocator.cpp (round_size, should_split)
    """
    if count < _LARGE:
        return -(-count // _SMALLEST) * _SMALLEST
    rest = -count % _STEP
    return count + (rest if rest <= _MIB else 0)
