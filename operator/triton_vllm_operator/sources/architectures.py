"""Which architectures each vLLM version knows, and what it does with them.

The data is made by `make arguments` from the registries of the published vLLM wheels, read and not run.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources

from triton_vllm_operator.api.vllm_versions import released_version
from triton_vllm_operator.sources.task import Value


class Kind(StrEnum):
    """What vLLM does with a model of an architecture."""

    GENERATES = "Generates"
    EMBEDS = "Embeds"
    RANKS = "Ranks"
    CLASSIFIES = "Classifies"
    REWARDS = "Rewards"
    TRANSCRIBES = "Transcribes"
    """It takes speech, and nothing else."""
    DRAFTS = "Drafts"
    """It guesses tokens for another model."""


class Span(Value):
    """Versions, one after the other, that do the same with an architecture."""

    kind: Kind
    first: str
    last: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """An architecture that a version does not know."""

    last: str = ""
    """The last version that knew it; empty if none did."""
    plugin: str = ""
    """Where its code lies now, as vLLM says."""
    first: str = ""
    """The first later version that knows it."""
    may_be_generic: bool = False
    """Whether vLLM's generic Transformers route could take it all the same."""


class Architectures(Value):
    """All architectures of all catalogued versions."""

    versions: tuple[str, ...]
    """Oldest first."""
    architectures: dict[str, tuple[Span, ...]]
    dropped: dict[str, str]
    """The last version that had one, in vLLM's own words."""
    plugins: dict[str, str]
    generic: tuple[str, ...]
    """Those that vLLM's generic Transformers route could take, whatever the registry says."""

    def find(self, vllm: str, name: str) -> Kind | Unknown | None:
        """What that version does with an architecture; None if the version is not catalogued."""
        vllm = released_version(vllm)
        if vllm not in self.versions:
            return None
        here, spans = self._place(vllm), self.architectures.get(name, ())
        for span in spans:
            if self._place(span.first) <= here <= self._place(span.last):
                return span.kind
        earlier = [span.last for span in spans if self._place(span.last) < here]
        later = [span.first for span in spans if self._place(span.first) > here]
        last = earlier[-1] if earlier else self.dropped.get(name, "")
        is_dropped = bool(last) and name in self.dropped
        return Unknown(
            last=last,
            first=later[0] if later else "",
            plugin=self.plugins.get(name, ""),
            may_be_generic=name in self.generic and not is_dropped,
        )

    def _place(self, version: str) -> int:
        return self.versions.index(version)


@cache
def load_architectures() -> Architectures:
    """The data that the package holds."""
    return Architectures.model_validate_json((resources.files(__package__) / "architectures.json").read_text())
