"""The architectures that a vLLM version knows, read off its registry of models."""

import ast
from dataclasses import dataclass

from tools.engine_arguments.source import Source
from triton_vllm_operator.sources.architectures import Kind

_MODULE = "vllm.model_executor.models.registry"
_MODELS = "vllm.model_executor.models"
# Later groups win: a model that embeds or generates generates here.
_GROUPS = {
    "_SPECULATIVE_DECODING_MODELS": Kind.DRAFTS,
    "_SEQUENCE_CLASSIFICATION_MODELS": Kind.CLASSIFIES,
    "_TOKEN_CLASSIFICATION_MODELS": Kind.CLASSIFIES,
    "_CROSS_ENCODER_MODELS": Kind.RANKS,
    "_REWARD_MODELS": Kind.REWARDS,
    "_LATE_INTERACTION_MODELS": Kind.EMBEDS,
    "_EMBEDDING_MODELS": Kind.EMBEDS,
    "_TRANSFORMERS_SUPPORTED_MODELS": Kind.GENERATES,
    "_MULTIMODAL_MODELS": Kind.GENERATES,
    "_TEXT_GENERATION_MODELS": Kind.GENERATES,
}
_GENERIC = "_TRANSFORMERS_BACKEND_MODELS"


@dataclass(frozen=True, slots=True)
class Registry:
    """What one version says of architectures."""

    kinds: dict[str, Kind]
    dropped: dict[str, str]
    """The last version that had one, in vLLM's own words."""
    plugins: dict[str, str]
    """Where the code of one lies now."""


def read_registry(source: Source) -> Registry:
    """The registry of one version.

    Raises:
        LookupError: the source has none.
    """
    kinds: dict[str, Kind] = {}
    for group, kind in _GROUPS.items():
        for name, place in _entries(source, group).items():
            kinds[name] = Kind.TRANSCRIBES if kind is Kind.GENERATES and _only_transcribes(source, place) else kind
    if not kinds:
        raise LookupError(f"{_MODULE} lists no models")
    kinds |= {name: Kind.GENERATES for name in _entries(source, _GENERIC) if name.endswith("ForCausalLM")}
    return Registry(
        kinds=kinds,
        dropped=_texts(source, "_PREVIOUSLY_SUPPORTED_MODELS"),
        plugins=_texts(source, "_OOT_SUPPORTED_MODELS"),
    )


def _entries(source: Source, group: str) -> dict[str, tuple[str, str]]:
    """Architecture to module and class; what is taken over from another group is in that group."""
    found = source.find(_MODULE, group)
    if found is None or not isinstance(found.node, ast.Dict):
        return {}
    pairs = zip(found.node.keys, found.node.values, strict=True)
    return {str(ast.literal_eval(key)): ast.literal_eval(value) for key, value in pairs if key is not None}


def _only_transcribes(source: Source, place: tuple[str, str]) -> bool:
    """Whether the class says that it takes speech and nothing else."""
    module, name = place
    owner = source.find(module if "." in module else f"{_MODELS}.{module}", name)
    if owner is None or not isinstance(owner.node, ast.ClassDef):
        return False
    # The mixin that declares it sets it to False.
    own = (part for found in source.bases(owner) for part in ast.iter_child_nodes(found.node))
    values = (ast.unparse(part) for part in own if isinstance(part, ast.Assign | ast.AnnAssign))
    return any(text.startswith("supports_transcription_only") and text.endswith("= True") for text in values)


def _texts(source: Source, name: str) -> dict[str, str]:
    found = source.find(_MODULE, name)
    return ast.literal_eval(found.node) if found and isinstance(found.node, ast.Dict) else {}
