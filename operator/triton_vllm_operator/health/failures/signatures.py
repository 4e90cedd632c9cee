"""By which texts engines and their servers say why they fail: signatures.yaml, typed. Pure."""

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

import yaml
from pydantic import BaseModel, ConfigDict

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.health.failures.hiding import hide_secrets

_WORD_LIMIT: Final = 120
"""Characters of what is told from a text: it may be anybody's."""


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
    seen: tuple[str, ...]
    """Where: issues, or files of facts."""


@dataclass(frozen=True, slots=True)
class Named:
    """A failure with a name."""

    reason: Reason
    says: str
    do: str
    mends: bool
    in_vain: bool


def name_failure(text: str) -> Named | None:
    """The failure that a log or a termination message names; None where no text of it is known."""
    for signature in load_signatures():
        if (found := signature.match.search(text)) is not None:
            words = {name: _printable(word or "") for name, word in found.groupdict().items()}
            says, do = signature.says.format(**words), signature.do.format(**words)
            return Named(signature.reason, says, do, signature.mends, signature.in_vain)
    return None


def _printable(word: str) -> str:
    return "".join(character for character in hide_secrets(word) if character.isprintable())[:_WORD_LIMIT]


@cache
def load_signatures() -> tuple[Signature, ...]:
    """The table, in the order in which it is tried."""
    text = (resources.files(__package__) / "signatures.yaml").read_text()
    return tuple(Signature.model_validate(each) for each in yaml.safe_load(text)["signatures"])
