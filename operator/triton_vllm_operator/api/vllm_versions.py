"""Versions of vLLM as they are written: the standard library alone, for the program that checks models too."""

import re
from typing import Final

_BUILD: Final = re.compile(r"([0-9]+\.[0-9]+\.[0-9]+)(\.post[0-9]+)?(\+.*)?")

_NUMBERS: Final = 3


def released_version(vllm: str) -> str:
    """The release that a build of it stands for: 0.27.1 for 0.27.1.post1 and 0.27.1+cu129; else the version itself."""
    build = _BUILD.fullmatch(vllm)
    return build[1] if build else vllm


def version_order(vllm: str) -> tuple[int, ...]:
    """By which releases are sorted: its three numbers, 0.24 as 0.24.0; empty if it is none that can be sorted."""
    release = released_version(vllm)
    if re.fullmatch(r"[0-9]+(\.[0-9]+)*", release) is None:
        return ()
    numbers = tuple(map(int, release.split(".")))
    return numbers + (0,) * (_NUMBERS - len(numbers))
