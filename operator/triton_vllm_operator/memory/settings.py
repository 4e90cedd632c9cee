"""What a plan is made for: the engine's settings that take memory, and the GPU."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

DEFAULT_UTILIZATION: Final = 0.9
MANY: Final = 999
"""Images of a prompt, unless the engine is told otherwise (vllm/config/multimodal.py)."""
BLOCK: Final = 16
"""Tokens of one block of the KV cache, unless the engine is told otherwise."""


class Runner(StrEnum):
    """A model runner."""

    V1 = "V1"
    V2 = "V2"


class Drafter(StrEnum):
    """What guesses tokens (speculative decoding)."""

    NONE = "None"
    """Nothing, or nothing that takes memory."""
    MODEL = "Model"
    """A model that holds all it needs."""
    HEAD = "Head"
    """Layers that take embedding and output of the model where these are the same (EAGLE)."""
    OWN = "Own"
    """Layers that the model brings (MTP), which always take them."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU."""

    product: str
    total_bytes: int
    """As CUDA reports them."""
    doubt_bytes: int = 0
    """How much more or less it may be."""
    is_slice: bool = False
    """Whether it is a slice of one (MIG), in which vLLM cannot ask for the GPU's size."""


@dataclass(frozen=True, slots=True)
class Seeing:
    """What an engine is told of images and videos."""

    images: int = MANY
    """In one prompt, at most (`limit_mm_per_prompt`)."""
    videos: int = MANY
    """The same of videos."""
    max_pixels: int | None = None
    """Of one image or frame (`mm_processor_kwargs`); None is what the model's processor says."""
    is_profiled: bool = True
    """Whether the engine measures itself with them as well (`skip_mm_profiling`)."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """The settings of one engine, as far as they take memory."""

    vllm: str
    utilization: float = DEFAULT_UTILIZATION
    max_model_len: int | None = None
    """Tokens; None is the model's own length."""
    tensor_ranks: int = 1
    pipeline_ranks: int = 1
    dtype_bytes: int = 2
    cache_bytes: int = 2
    """Of one element of the KV cache."""
    sequences: int | None = None
    """`max_num_seqs`; None is the version's default."""
    batched_tokens: int | None = None
    """`max_num_batched_tokens`; None is the version's default."""
    block_tokens: int = BLOCK
    runner: Runner = Runner.V1
    is_eager: bool = False
    """Whether no CUDA graphs are captured."""
    fixed_cache: int | None = None
    """Bytes that the KV cache gets without being measured (`kv_cache_memory_bytes`)."""
    adapters: int = 0
    """LoRA adapters for which there is room (`max_loras`)."""
    adapter_rank: int = 0
    """`max_lora_rank`."""
    caches_prefixes: bool | None = None
    """`enable_prefix_caching`; None is the version's default. It matters to layers that keep states."""
    quantises: bool = False
    """Whether the engine quantises linear layers to 8 bits when it loads them."""
    drafter: Drafter = Drafter.NONE
    guesses: int = 0
    """Tokens that are guessed in one step (`num_speculative_tokens`)."""
    staged_files: int = 0
    """Whole files of weights that lie on the GPU while they are loaded (`load_format` fastsafetensors)."""
    seeing: Seeing = Seeing()
    measured_length: int | None = None
    """Tokens of the sequence with which an engine measures itself that chooses a shorter one afterwards (Auto)."""
