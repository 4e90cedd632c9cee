"""Which files of a repository are fetched. Pure."""

from collections.abc import Iterable
from fnmatch import fnmatch
from typing import Final

_SMALL: Final = ("*.json", "*.jsonl", "*.txt", "*.model", "*.jinja", "*.tiktoken", "*.vocab", "*.spm", "*.tok")
_CODE: Final = ("*.py",)
_SAFETENSORS: Final = ("*.safetensors",)
_PICKLED: Final = ("pytorch_model*.bin", "adapter_model.bin", "*.pt")
# Mistral's repositories hold every weight twice, once in a format of their own.
_MISTRAL: Final = ("consolidated*.safetensors",)


def choose_files(names: Iterable[str], with_code: bool) -> tuple[str, ...]:
    """The top-level files that an engine reads: safetensors if there are any, pickled weights only otherwise.

    Python code is taken only when the engine may run it.
    """
    top = sorted(name for name in names if "/" not in name)
    safetensors = _matching(top, _SAFETENSORS)
    others = tuple(name for name in safetensors if name not in _matching(top, _MISTRAL))
    weights = others or safetensors or _matching(top, _PICKLED)
    small = _matching(top, _SMALL + (_CODE if with_code else ()))
    return tuple(sorted({*weights, *small}))


def _matching(names: Iterable[str], patterns: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if any(fnmatch(name, pattern) for pattern in patterns))
