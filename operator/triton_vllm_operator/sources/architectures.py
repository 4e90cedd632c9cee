"""Which architectures each vLLM version knows, and what it does with them.

The data is made by `make arguments` from the registries of the published vLLM wheels, read and not run.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Final

from triton_vllm_operator.api.vllm_versions import released_version, version_order
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


class Lora(StrEnum):
    """What is known of adapters where no names of modules are."""

    NONE = "None"
    """vLLM loads none."""
    UNKNOWN = "Unknown"


# What vLLM's generic route cannot do, whatever the transformers library says.
_CROSS_ATTENTION: Final = ("MllamaForConditionalGeneration",)
_SUFFIXES: Final = ("ForCausalLM", "ForConditionalGeneration", "ChatModel", "LMHeadModel")


class Span(Value):
    """Versions, one after the other, that do the same with an architecture."""

    kind: Kind
    lora: tuple[str, ...] | None = None
    """What an adapter may change beside linear modules, as embed_tokens; None if vLLM loads no adapter of it at all."""
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
    kind: Kind | None = None
    """What another version does with it; None if none knows it."""
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
    config_types: tuple[str, ...]
    """Every `model_type` whose configuration the newest transformers library reads by code of its own."""
    tokenizers: tuple[str, ...] = ()
    """The classes of tokenizers that it holds, without `Fast` at their end."""
    own_config_types: dict[str, tuple[str, ...]]
    """Those that vLLM itself does, by its version."""

    def find(self, vllm: str, name: str) -> Kind | Unknown | None:
        """What that version does with an architecture; None if the version is not catalogued."""
        if not self.has(vllm):
            return None
        vllm = released_version(vllm)
        if (span := self._span(vllm, name)) is not None:
            return span.kind
        here, spans = self._place(vllm), self.architectures.get(name, ())
        earlier = [span for span in spans if self._place(span.last) < here]
        later = [span for span in spans if self._place(span.first) > here]
        last = earlier[-1].last if earlier else self.dropped.get(name, "")
        return Unknown(
            last=last,
            first=later[0].first if later else "",
            kind=next((span.kind for span in (*later, *reversed(earlier))), None),
            plugin=self.plugins.get(name, ""),
            may_be_generic=name in self.generic and name not in _CROSS_ATTENTION,
        )

    def find_lora(self, vllm: str, name: str) -> tuple[str, ...] | Lora:
        """What an adapter may change beside linear modules, or why nobody can say or none is loaded."""
        vllm = released_version(vllm)
        span = self._span(vllm, name) if vllm in self.versions else None
        if span is None:
            return Lora.UNKNOWN
        return Lora.NONE if span.lora is None else span.lora

    def has(self, vllm: str) -> bool:
        """Whether a version is catalogued."""
        return released_version(vllm) in self.versions

    def offers(self, version: str) -> bool:
        """Whether a version is young enough to be that of a runtime."""
        return version_order(version) >= version_order(self.versions[0])

    def reads_config(self, vllm: str, model_type: str) -> bool:
        """Whether a configuration may be read without code of the model's own; also where that is not known."""
        own = self.own_config_types.get(released_version(vllm))
        return own is None or model_type in own or model_type in self.config_types

    def _span(self, vllm: str, name: str) -> Span | None:
        """What a catalogued version does with a name, or with the one that it takes it for.

        https://github.com/vllm-project/vllm/blob/main/vllm/model_executor/models/registry.py (_normalize_arch)
        """
        suffix = next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), None)
        others = [name.removesuffix(suffix) + other for other in _SUFFIXES] if suffix else []
        here = self._place(vllm)
        spans = (span for spelled in (name, *others) for span in self.architectures.get(spelled, ()))
        return next((span for span in spans if self._place(span.first) <= here <= self._place(span.last)), None)

    def _place(self, version: str) -> int:
        return self.versions.index(version)


@cache
def load_architectures() -> Architectures:
    """The data that the package holds."""
    return Architectures.model_validate_json((resources.files(__package__) / "architectures.json").read_text())
