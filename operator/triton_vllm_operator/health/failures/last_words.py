"""What the end of a container's log says of its end, where the termination message says too little. Pure."""

import re
from dataclasses import dataclass
from enum import StrEnum
from textwrap import shorten
from typing import Final

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.health.failures.hiding import hide_secrets
from triton_vllm_operator.health.failures.signatures import Named, Weight, name_failure

_LINE_LIMIT: Final = 400
LOG_LINES: Final = 400
"""Of a log, from its end: more than the traces of an engine and of its server take."""
_MEMORY: Final = frozenset({Reason.CUDA_OUT_OF_MEMORY, Reason.OUT_OF_MEMORY})
# What only says that something failed, or what vLLM and CUDA always say beside it.
_WRAPPER: Final = re.compile(
    r"Engine core initialization failed|WorkerProc initialization failed|failed to load all models|failed to load '|^\|"
    r"|failed to be inspected|Error in inspecting model architecture|died unexpectedly|is not healthy|EngineDeadError"
    r"|EngineCore encountered|CUDA kernel errors might be|raise \w+\("
)
_FORMAL: Final = re.compile(r"(?:^|[\s\])|'])(?:\w+\.)*[A-Z]\w*(?:Error|Exception|Exit|Interrupt): \S")
"""As Python ends a trace."""
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
_WARNS: Final = re.compile(
    r"^(?:\([^)]*\) *)*(?:[IW]\d{4} \d\d:(?!.*Failed to initialize Python stub)|(?:INFO|WARNING) \d\d-)"
)
"""As Triton and vLLM begin a line that tells of no failure, and may name one: DCGM is not there.

How a Python stub ends stands in a line that Triton calls information: src/pb_stub.cc of python_backend.
"""
_ERROR: Final = re.compile(r"rror|Exception: |fatal|already in use")


class Phase(StrEnum):
    """What an engine was doing."""

    LOAD = "while the weights were loaded"
    PROFILE = "while it measured itself, before there was a cache"
    CAPTURE = "while CUDA graphs were captured or it warmed up, beside the cache"
    SERVING = "while it served"


# Lines that begin a phase: vllm/v1/worker/gpu_model_runner.py, vllm/v1/engine/core.py.
_BEGINS: Final = (
    (re.compile(r"Starting to load model|Loading (safetensors|weights|model from scratch)"), Phase.LOAD),
    (re.compile(r"Model loading took"), Phase.PROFILE),
    (re.compile(r"Available KV cache memory|GPU KV cache size|# GPU blocks"), Phase.CAPTURE),
    (re.compile(r"init engine \(.*\) took"), Phase.SERVING),
)


@dataclass(frozen=True, slots=True)
class LastWords:
    """Of one container."""

    named: Named | None = None
    """The failure; None where no text is known."""
    phase: Phase | None = None
    """What it was doing; None if its log does not tell."""
    line: str = ""
    """The last line that names an error."""


NO_WORDS: Final = LastWords()


def find_last_words(log: str) -> LastWords:
    """What the end of a log says."""
    return LastWords(name_failure(log), find_phase(log), find_telling_line(log))


def find_phase(log: str) -> Phase | None:
    """The last phase that a log says to have begun."""
    found = [(match.start(), phase) for begin, phase in _BEGINS for match in begin.finditer(log)]
    return max(found, default=(0, None), key=lambda each: each[0])[1]


def find_telling_line(text: str) -> str:
    """The last line that names an error and does not only say that something failed; Triton's tables follow it."""
    lines = [line.strip() for line in _COLOURS.sub("", text).splitlines() if _ERROR.search(line)]
    lines = [line for line in lines if not line.startswith("|") and _WARNS.search(line) is None]
    own = [line for line in lines if is_telling(line)]
    formal = [line for line in own if _FORMAL.search(line)]
    return shorten(hide_secrets((formal or own or lines)[-1]), _LINE_LIMIT, placeholder=" ...") if lines else ""


def is_telling(line: str) -> bool:
    """Whether a line says of what something failed."""
    return bool(line) and _WRAPPER.search(line) is None


def lacks_words(message: str, was_killed_for_memory: bool) -> bool:
    """Whether the log is worth reading beside a termination message."""
    named = name_failure(message)
    if was_killed_for_memory or named is None:
        return True
    return named.reason in _MEMORY or named.weight is not Weight.CAUSE
