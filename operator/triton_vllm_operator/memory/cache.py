"""The KV cache: bytes of a token, blocks, and how many tokens and sequences they hold. Pure.

https://github.com/vllm-project/vllm/blob/main/vllm/v1/core/kv_cache_utils.py
"""

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Final

from triton_vllm_operator.memory.drafts import draft_layers
from triton_vllm_operator.memory.settings import EngineSettings
from triton_vllm_operator.memory.states import caches_prefixes, find_kept, round_block, state_bytes
from triton_vllm_operator.memory.versions import load_tables, row_of
from triton_vllm_operator.memory.weights import share_layers
from triton_vllm_operator.sources.shape import Attention, LayerKind, ModelShape, State

_PACKED_LATENT: Final = 656
"""Bytes of a compressed token in 8 bits beside which its positions stay whole (fp8_ds_mla)."""
_WHOLE: Final = (Attention.FULL, Attention.LATENT)


@dataclass(frozen=True, slots=True)
class Group:
    """Layers that share a table of blocks."""

    kind: LayerKind
    layers: int
    """On one rank."""


@dataclass(frozen=True, slots=True)
class CacheLayout:
    """How one rank lays its cache out."""

    groups: tuple[Group, ...]
    block_bytes: int
    """Of one block in every layer of a group; all groups take alike."""
    block_tokens: int
    token_bytes: int
    """Of one token that all layers remember; what groups are padded with is not in it."""
    state_blocks: int | None = 1
    """Of a sequence in each group of layers that keep states; None if it is one for each block of its tokens."""

    @property
    def keeps_states(self) -> bool:
        """Whether some layers keep a state for each sequence."""
        return any(group.kind.state is not None for group in self.groups)

    @property
    def keeps_tokens(self) -> bool:
        """Whether some layers keep keys and values."""
        return any(group.kind.state is None for group in self.groups)


def find_unplannable(shape: ModelShape, settings: EngineSettings) -> str:
    """Why there is no layout to plan with; empty if there is one."""
    stages, layers = share_layers(len(shape.layers), settings.pipeline_ranks), shape.layers
    if not all(stages):
        return f"a pipeline of {settings.pipeline_ranks} stages for {len(layers)} layers"
    if not all(any(_cached_parts(layers[number], settings.vllm) for number in stage) for stage in stages):
        return "a stage of the pipeline without a layer that keeps keys and values"
    if why := _find_unmixed(shape, settings):
        return why
    attend = any(page_bytes(layer, settings) for layer in layers)
    caches = caches_prefixes(settings, attend)
    return "states whose prefixes are cached, without attention" if caches and not attend else ""


def _find_unmixed(shape: ModelShape, settings: EngineSettings) -> str:
    """What a draft model keeps that no layout is known for beside what the model does; empty if there is nothing."""
    guessing = draft_layers(shape, settings)
    if any(layer.state is not None for layer in guessing):
        return "a draft model that keeps states"
    layers = (*shape.layers, *guessing)
    sizes = {page for layer in layers if (page := page_bytes(layer, settings))}
    parts = [part for layer in layers for part in _cached_parts(layer, settings.vllm)]
    mixes = _are_alike(parts) and row_of(load_tables().groups, settings.vllm).mixes_sizes
    return (
        "a draft model that keeps more or less of a token than the model"
        if guessing and len(sizes) > 1 and not mixes
        else ""
    )


def lay_out(shape: ModelShape, settings: EngineSettings, stage: int = 0) -> CacheLayout:
    """The layout of a stage of the pipeline."""
    own = share_layers(len(shape.layers), settings.pipeline_ranks)[stage]
    layers = (*shape.layers, *draft_layers(shape, settings))
    if stage == settings.pipeline_ranks - 1:
        own = range(own.start, len(layers))
    if any(layer.index for layer in layers):
        least = row_of(load_tables().sparse, settings.vllm).block
        settings = replace(settings, block_tokens=max(settings.block_tokens, least))
    parts = [(number, part) for number, layer in enumerate(layers) for part in _cached_parts(layer, settings.vllm)]
    attending = sum(part.state is None for number, part in parts if number in own)
    state = shape.state
    attends = any(page_bytes(layer, settings) for layer in layers)
    if state is not None and attends:
        settings = replace(settings, block_tokens=_block_for_states(state, layers, settings, shape.architecture))
    pages = [page_bytes(layers[number], settings) for number in (own if state is None else range(len(layers)))]
    # Hybrids pad a state to the page of attention.
    page = max(pages) if attends else state_bytes(state or State(), settings)
    blocks = find_kept(settings, shape.architecture, attends)
    if _are_alike([part for _, part in parts]):
        token_bytes = sum(pages) // settings.block_tokens
        return CacheLayout((Group(parts[0][1], attending),), sum(pages), settings.block_tokens, token_bytes, blocks)
    groups = _group(parts, own, settings.vllm)
    size = max(group.layers for group in groups)
    token_bytes = page * attending // settings.block_tokens
    return CacheLayout(groups, page * size, settings.block_tokens, token_bytes, blocks)


def _are_alike(parts: list[LayerKind]) -> bool:
    """Whether all of them attend to everything, and share one table of blocks however much each keeps of a token."""
    return all(part.attention in _WHOLE and part.state is None for part in parts)


def _cached_parts(layer: LayerKind, vllm: str) -> tuple[LayerKind, ...]:
    """What a layer keeps, keys and values apart from a state: each has blocks of its own."""
    attends = layer.attention is not Attention.NONE and layer.heads * layer.size
    keys = _as_cached(layer.model_copy(update={"state": None}), vllm)
    state = LayerKind(attention=Attention.NONE, state=layer.state)
    return (*((keys,) if attends else ()), *((state,) if layer.state is not None else ()))


def _as_cached(layer: LayerKind, vllm: str) -> LayerKind:
    """What a version makes of a layer: those that attend in chunks were kept whole once."""
    if layer.attention is not Attention.CHUNK or row_of(load_tables().chunks, vllm).are_kept_short:
        return layer
    return layer.model_copy(update={"attention": Attention.FULL, "window": None})


def page_bytes(layer: LayerKind, settings: EngineSettings) -> int:
    """Of the keys and values of one block in one layer on one rank; 0 if it keeps none."""
    if layer.attention is Attention.NONE:
        return 0
    if layer.index:
        packs = settings.cache_bytes == 1 or row_of(load_tables().sparse, settings.vllm).packs
        return settings.block_tokens * (layer.index + (_PACKED_LATENT if packs else layer.size * settings.cache_bytes))
    heads = max(1, layer.heads // settings.tensor_ranks) if layer.attention is not Attention.LATENT else 1
    return settings.block_tokens * heads * layer.size * settings.cache_bytes


def _block_for_states(state: State, layers: tuple[LayerKind, ...], settings: EngineSettings, architecture: str) -> int:
    """Tokens of a block of a hybrid: as many as make its page hold a state."""
    one = replace(settings, block_tokens=1)
    token = max(page_bytes(layer, one) for layer in layers)
    is_latent = any(layer.attention is Attention.LATENT for layer in layers)
    return round_block(state, token, is_latent, settings, architecture)


def _group(parts: list[tuple[int, LayerKind]], own: range, vllm: str) -> tuple[Group, ...]:
    """Layers of one kind, of all stages together, dealt out to groups of one size; what a stage has of each.

    A smaller group wastes what it lacks. `parts` are what layers keep, by their numbers; `own` the layers of the stage.
    """
    by_kind: dict[LayerKind, list[int]] = defaultdict(list)
    for number, kind in parts:
        by_kind[kind].append(number)
    least, most = min(map(len, by_kind.values())), max(map(len, by_kind.values()))
    slack = row_of(load_tables().groups, vllm).slack
    size = most if most < least * slack else least
    return tuple(
        Group(kind, sum(number in own for number in numbers[first :: math.ceil(len(numbers) / size)]))
        for kind, numbers in by_kind.items()
        for first in range(math.ceil(len(numbers) / size))
    )


def count_blocks(layout: CacheLayout, available: int) -> int:
    """Blocks that the bytes hold."""
    return max(0, available // layout.block_bytes)


def blocks_of_sequence(layout: CacheLayout, tokens: int, batched_tokens: int, vllm: str) -> int:
    """Blocks, of all groups, that one sequence of so many tokens takes."""
    in_flight = batched_tokens * row_of(load_tables().window, vllm).batches
    block, states = layout.block_tokens, layout.state_blocks
    return sum(_group_blocks(group.kind, tokens, in_flight, block, states) for group in layout.groups)


def _group_blocks(kind: LayerKind, tokens: int, in_flight: int, block: int, states: int | None) -> int:
    if kind.state is not None:
        return math.ceil(tokens / block) if states is None else states
    if kind.window is None:
        return math.ceil(tokens / block)
    if kind.attention is Attention.CHUNK:
        return math.ceil(min(kind.window + in_flight, tokens) / block)
    return math.ceil(min(kind.window - 1 + in_flight, tokens) / block) + 1


def count_tokens(layout: CacheLayout, blocks: int, length: int, batched_tokens: int, vllm: str) -> int:
    """What the engine's own line of tokens will say."""
    if row_of(load_tables().tokens_line, vllm).by_concurrency or not layout.keeps_tokens:
        return int(blocks / blocks_of_sequence(layout, length, batched_tokens, vllm) * length)
    return blocks // len(layout.groups) * layout.block_tokens
