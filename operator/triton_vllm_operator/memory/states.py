"""States of Mamba, of linear attention and of short convolutions: their size, and what blocks they take. Pure.

https://github.com/vllm-project/vllm/blob/main/vllm/platforms/interface.py (_align_hybrid_block_size)
https://github.com/vllm-project/vllm/blob/main/vllm/v1/kv_cache_interface.py (MambaSpec)
"""

import math

from triton_vllm_operator.memory.settings import EngineSettings
from triton_vllm_operator.memory.versions import load_tables, row_of
from triton_vllm_operator.sources.shape import State


def state_bytes(state: State, settings: EngineSettings) -> int:
    """Of one sequence in one layer on one rank."""
    ranks = settings.tensor_ranks
    groups = state.groups if state.groups % ranks == 0 else ranks
    conv = (state.divided + groups * state.per_group) // ranks * settings.dtype_bytes
    if state.columns and settings.guesses:
        # A convolution looks back from each token that is guessed as well.
        conv = conv * (state.columns + settings.guesses) // state.columns
    return conv + state.recurrent // ranks * (state.recurrent_bytes or settings.dtype_bytes)


def caches_prefixes(settings: EngineSettings, attends: bool) -> bool:
    """Whether an engine caches the prefixes of a model with states; by itself only where some layers attend."""
    if settings.caches_prefixes is not None:
        return settings.caches_prefixes
    return attends and row_of(load_tables().states, settings.vllm).caches_prefixes


def find_kept(settings: EngineSettings, architecture: str, attends: bool) -> int | None:
    """States that one sequence keeps in each group of layers; None if it is one for each block of its tokens."""
    if not caches_prefixes(settings, attends):
        return 1 + settings.guesses
    row = row_of(load_tables().states, settings.vllm)
    return None if architecture in row.keeps_all else row.keeps + settings.guesses


def round_block(state: State, token_bytes: int, is_latent: bool, settings: EngineSettings, architecture: str) -> int:
    """Tokens of a block of attention, so many that it takes at least what a state does."""
    row, size = row_of(load_tables().states, settings.vllm), state_bytes(state, settings)
    step = max(settings.block_tokens, row.latent_block if is_latent else 0)
    if find_kept(settings, architecture, attends=True) is None:
        step = math.lcm(state.chunk, step)
        return max(settings.block_tokens, step * math.ceil(math.ceil(size / token_bytes) / step))
    return max(settings.block_tokens, step * math.ceil(size / (step * token_bytes)))
