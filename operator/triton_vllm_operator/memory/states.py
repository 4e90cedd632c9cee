"""States of Mamba, of linear attention and of short convolutions: their size, and what blocks they take. Pure.

https://github.com/vllm-project/vllm/blob/main/vllm/platforms/interface.py (_align_hybrid_block_size)
https://github.com/vllm-project/vllm/blob/main/vllm/v1/kv_cache_interface.py (MambaSpec)
"""

import math
from enum import Enum, auto

from triton_vllm_operator.memory.settings import EngineSettings
from triton_vllm_operator.memory.versions import load_tables, row_of
from triton_vllm_operator.sources.shape import State


class Kept(Enum):
    """How many blocks of states one sequence takes."""

    ONE = auto()
    TWO = auto()
    """Of prefixes that are cached the newest is kept beside the present one."""
    ALL = auto()
    """Of prefixes that are cached one for each block of tokens."""


def state_bytes(state: State, settings: EngineSettings) -> int:
    """Of one sequence in one layer on one rank."""
    ranks = settings.tensor_ranks
    groups = state.groups if state.groups % ranks == 0 else ranks
    conv = (state.divided + groups * state.per_group) // ranks * settings.dtype_bytes
    return conv + state.recurrent // ranks * (state.recurrent_bytes or settings.dtype_bytes)


def caches_prefixes(settings: EngineSettings, attends: bool) -> bool:
    """Whether an engine caches the prefixes of a model with states; by itself only where some layers attend."""
    if settings.caches_prefixes is not None:
        return settings.caches_prefixes
    return attends and row_of(load_tables().states, settings.vllm).caches_prefixes


def find_kept(settings: EngineSettings, architecture: str, attends: bool) -> Kept:
    """How a version keeps the states of an architecture."""
    if not caches_prefixes(settings, attends):
        return Kept.ONE
    return Kept.ALL if architecture in row_of(load_tables().states, settings.vllm).keeps_all else Kept.TWO


def round_block(state: State, token_bytes: int, is_latent: bool, settings: EngineSettings, architecture: str) -> int:
    """Tokens of a block of attention, so many that it takes at least what a state does."""
    row, size = row_of(load_tables().states, settings.vllm), state_bytes(state, settings)
    step = max(settings.block_tokens, row.latent_block if is_latent else 0)
    if find_kept(settings, architecture, attends=True) is Kept.ALL:
        step = math.lcm(state.chunk, step)
        return max(settings.block_tokens, step * math.ceil(math.ceil(size / token_bytes) / step))
    return max(settings.block_tokens, step * math.ceil(size / (step * token_bytes)))
