"""By which texts engines and their servers say why they fail: signatures.yaml, typed. Pure."""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache
from importlib import resources
from typing import Final

import yaml
from pydantic import BaseModel, ConfigDict

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.health.failures.hiding import hide_secrets

_WORD_LIMIT: Final = 120
"""Characters of what is told from a text: it may be anybody's."""


class Weight(StrEnum):
    """What a text is worth beside others of the same log: the first of these that stands there is the name."""

    CAUSE = "cause"
    ECHO = "echo"
    """What follows from a cause elsewhere, if one is told: another rank that is gone, a device that nobody found."""
    END = "end"
    """That a process ended, and not of what."""


_ORDER: Final = tuple(Weight)


class Signature(BaseModel):
    """One text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: Reason
    match: re.Pattern[str]
    says: str
    """One sentence, with what the text names in braces."""
    do: str
    """What would help, in the same way."""
    mends: bool = False
    """Whether a new start may help by itself."""
    in_vain: bool = False
    """Whether none will, until somebody changes the spec or the model."""
    weight: Weight = Weight.CAUSE
    seen: tuple[str, ...]
    """Where: issues, or files of facts."""


_LONGEST_LINE: Final = 2000
_OFTEN_NAMED: Final = 4096
"""Bytes of a termination message, at most: https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/."""


@dataclass(frozen=True, slots=True)
class Named:
    """A failure with a name."""

    reason: Reason
    says: str
    do: str
    mends: bool
    in_vain: bool
    weight: Weight


def name_failure(text: str) -> Named | None:
    """The failure that a log or a termination message names; None where no text of it is known.

    Of several the last counts: what was said long before the end is of something else. Of two at the same place, that
    which stands first in the table.
    """
    # Patterns look at a line from each of its places, and whoever owns a pod writes its log.
    text = "\n".join(line[:_LONGEST_LINE] for line in text.split("\n"))
    return _name_again(text) if len(text) <= _OFTEN_NAMED else _name(text)


@lru_cache(maxsize=512)
def _name_again(text: str) -> Named | None:
    """Termination messages are read at each look, and a hundred pods end alike."""
    return _name(text)


def _name(text: str) -> Named | None:
    found = [
        (_ORDER.index(signature.weight), -last.start(), place, signature, last)
        for place, signature in enumerate(load_signatures())
        if (last := _find_last(signature.match, text)) is not None
    ]
    if not found:
        return None
    *_, signature, last = min(found, key=lambda each: each[:3])
    words = {name: _printable(word or "") for name, word in last.groupdict().items()}
    return Named(
        signature.reason,
        signature.says.format(**words),
        signature.do.format(**words),
        signature.mends,
        signature.in_vain,
        signature.weight,
    )


def _find_last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    last = None
    for last in pattern.finditer(text):  # noqa: B007 (the last one is what is wanted)
        pass
    return last


def _printable(word: str) -> str:
    shown = "".join(character for character in hide_secrets(word) if character.isprintable())
    return shown[:_WORD_LIMIT].strip()


@cache
def load_signatures() -> tuple[Signature, ...]:
    """The table, in the order in which it is tried."""
    text = (resources.files(__package__) / "signatures.yaml").read_text()
    return tuple(Signature.model_validate(each) for each in yaml.safe_load(text)["signatures"])
