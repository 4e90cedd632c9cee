"""The KV cache: bytes of a token, blocks, and how many tokens and sequences they hold. Pure.

https://github.com/vllm-project/vllm/blob/main/vllm/v1/core/kv_cache_utils.py
"""

import math
from dataclasses import dataclass

from triton_vllm_operator.memory.settings import EngineSettings
from triton_vllm_operator.memory.versions import load_tables, row_of
from triton_vllm_operator.memory.weights import share_layers
from triton_vllm_operator.sources.shape import Attention, LayerKind, ModelShape


@dataclass(frozen=True, slots=True)
class Group:
    """Layers that share a table of blocks."""

    kind: LayerKind
    layers: int


@dataclass(frozen=True, slots=True)
class CacheLayout:
    """How one rank lays its cache out."""

    groups: tuple[Group, ...]
    block_bytes: int
    """Of one block in every layer of a group; all groups take alike."""
    block_tokens: int
    token_bytes: int
    """Of one token that all layers remember; what groups are padded with is not in it."""


def find_unplannable(shape: ModelShape, settings: EngineSettings) -> str:
    """Why there is no layout to plan with; empty if there is one."""
    stages, layers = share_layers(len(shape.layers), settings.pipeline_ranks), shape.layers
    if not all(stages):
        return f"a pipeline of {settings.pipeline_ranks} stages for {len(layers)} layers"
    remembers = [any(page_bytes(layers[number], settings) for number in stage) for stage in stages]
    return "" if all(remembers) else "a stage of the pipeline without a layer that keeps keys and values"


def lay_out(shape: ModelShape, settings: EngineSettings, stage: int = 0) -> CacheLayout:
    """The layout of a stage of the pipeline."""
    layers = shape.layers
    own = [layers[number] for number in share_layers(len(layers), settings.pipeline_ranks)[stage]]
    kept = [_as_cached(layer, settings.vllm) for layer in own if page_bytes(layer, settings)]
    page = max(page_bytes(layer, settings) for layer in kept)
    groups, size = _group(kept, settings.vllm)
    return CacheLayout(groups, page * size, settings.block_tokens, page * len(kept) // settings.block_tokens)


def _as_cached(layer: LayerKind, vllm: str) -> LayerKind:
    """What a version makes of a layer: those that attend in chunks were kept whole once."""
    if layer.attention is not Attention.CHUNK or row_of(load_tables().chunks, vllm).are_kept_short:
        return layer
    return layer.model_copy(update={"attention": Attention.FULL, "window": None})


def page_bytes(layer: LayerKind, settings: EngineSettings) -> int:
    """Of one block in one layer on one rank; 0 if it keeps none."""
    if layer.attention is Attention.NONE:
        return 0
    heads = max(1, layer.heads // settings.tensor_ranks) if layer.attention is not Attention.LATENT else 1
    return settings.block_tokens * heads * layer.size * settings.cache_bytes


def _group(layers: list[LayerKind], vllm: str) -> tuple[tuple[Group, ...], int]:
    """Layers of one kind, in groups of one size: a smaller group wastes what it lacks."""
    kinds = tuple(dict.fromkeys(layers))
    counts = {kind: layers.count(kind) for kind in kinds}
    least, most = min(counts.values()), max(counts.values())
    slack = row_of(load_tables().groups, vllm).slack
    size = most if most < least * slack else least
    groups = tuple(Group(kind, size) for kind in kinds for _ in range(math.ceil(counts[kind] / size)))
    return groups, size


def count_blocks(layout: CacheLayout, available: int) -> int:
    """Blocks that the bytes hold."""
    return max(0, available // layout.block_bytes)


def blocks_of_sequence(layout: CacheLayout, tokens: int, batched_tokens: int, vllm: str) -> int:
    """Blocks, of all groups, that one sequence of so many tokens takes."""
    in_flight = batched_tokens * row_of(load_tables().window, vllm).batches
    return sum(_group_blocks(group.kind, tokens, in_flight, layout.block_tokens) for group in layout.groups)


def _group_blocks(kind: LayerKind, tokens: int, in_flight: int, block: int) -> int:
    if kind.window is None:
        return math.ceil(tokens / block)
    if kind.attention is Attention.CHUNK:
        return math.ceil(min(kind.window + in_flight, tokens) / block)
    return math.ceil(min(kind.window - 1 + in_flight, tokens) / block) + 1


def count_tokens(layout: CacheLayout, blocks: int, length: int, batched_tokens: int, vllm: str) -> int:
    """What the engine's own line of tokens will say."""
    if row_of(load_tables().tokens_line, vllm).by_concurrency:
        return int(blocks / blocks_of_sequence(layout, length, batched_tokens, vllm) * length)
    return blocks // len(layout.groups) * layout.block_tokens
