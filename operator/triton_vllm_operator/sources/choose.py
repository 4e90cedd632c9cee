"""Which files of a repository are fetched. Pure."""

from collections.abc import Iterable
from fnmatch import fnmatch
from typing import Final

from triton_vllm_operator.sources.fault import not_servable
from triton_vllm_operator.sources.placement import OTHER_FORMATS
from triton_vllm_operator.sources.servable import TOKENIZERS

# Python code comes along: whether it runs is for the engine's trust_remote_code to say, which may change later.
_SMALL: Final = ("*.json", "*.jsonl", "*.txt", "*.jinja", "*.py", *TOKENIZERS)
_SAFETENSORS: Final = ("*.safetensors",)
_PICKLED: Final = ("pytorch_model*.bin", "adapter_model.bin", "*.pt", "*.pth")
# Mistral's repositories hold every weight twice, once in a format of their own.
_MISTRAL: Final = ("consolidated*.safetensors",)
# What vLLM's `load_format` reads, where that is not the usual choice; nothing reads no weights.
_FORMATS: Final = dict(zip(OTHER_FORMATS, (_MISTRAL, _PICKLED, _PICKLED, ()), strict=True))
# Formats whose files have no name that could be looked for in a repository.
_UNNAMED: Final = ("gguf", "tensorizer", "sharded_state", "runai_streamer_sharded")


def choose_files(names: Iterable[str], load_format: str | None) -> tuple[str, ...]:
    """The top-level files that an engine reads: safetensors if there are any, pickled weights only otherwise.

    Raises:
        SourceFault: nobody can tell which files this `load_format` reads.
    """
    if load_format in _UNNAMED:
        raise not_servable(
            f"load_format {load_format} does not tell which files of a repository it reads; "
            "put them on a volume, and name it as persistentVolumeClaim"
        )
    top = sorted(name for name in names if "/" not in name)
    patterns = _FORMATS.get(load_format or "")
    weights = _usual_weights(top) if patterns is None else _matching(top, patterns)
    return tuple(sorted({*weights, *_matching(top, _SMALL)}))


def _usual_weights(names: list[str]) -> tuple[str, ...]:
    safetensors = _matching(names, _SAFETENSORS)
    others = tuple(name for name in safetensors if name not in _matching(names, _MISTRAL))
    return others or safetensors or _matching(names, _PICKLED)


def _matching(names: Iterable[str], patterns: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if any(fnmatch(name, pattern) for pattern in patterns))
