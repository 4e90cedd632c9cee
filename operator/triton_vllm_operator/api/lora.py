"""The ranks of LoRA adapters for which vLLM reserves room."""

from typing import Final

DEFAULT_LORA_RANK: Final = 16
"""vLLM's own `max_lora_rank`."""
# https://github.com/vllm-project/vllm/blob/main/vllm/config/lora.py (MaxLoRARanks; 1 came later and is left out)
_RANKS: Final = (8, 16, 32, 64, 128, 256, 320, 512)
LARGEST_LORA_RANK: Final = _RANKS[-1]


def engine_rank(rank: int) -> int:
    """The smallest `max_lora_rank` that holds an adapter of this rank; the largest if none does."""
    return next((allowed for allowed in _RANKS if allowed >= rank), LARGEST_LORA_RANK)
