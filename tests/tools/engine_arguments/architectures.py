"""The architectures that a vLLM version knows, read off its registry of models."""

import ast
from dataclasses import dataclass

from tools.engine_arguments.source import Found, Source
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
_CONFIGS = ("vllm.transformers_utils.config", "_CONFIG_REGISTRY")
# Of a class that is not found everything is taken to be so.
_ANY_EMBEDDING = ("embed_tokens", "lm_head")


@dataclass(frozen=True, slots=True)
class Registry:
    """What one version says of architectures."""

    kinds: dict[str, Kind]
    lora: dict[str, tuple[str, ...] | None]
    """What an adapter may change beside linear modules; None if none is loaded."""
    configs: frozenset[str]
    """The `model_type` of configurations that vLLM reads by code of its own."""
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
    lora: dict[str, tuple[str, ...] | None] = {}
    for group, kind in _GROUPS.items():
        for name, place in _entries(source, group).items():
            lora[name] = _read_lora(source, place)
            kinds[name] = Kind.TRANSCRIBES if kind is Kind.GENERATES and _only_transcribes(source, place) else kind
    if not kinds:
        raise LookupError(f"{_MODULE} lists no models")
    kinds |= {name: Kind.GENERATES for name in _entries(source, _GENERIC) if name.endswith("ForCausalLM")}
    return Registry(
        kinds=kinds,
        lora={name: lora.get(name, _ANY_EMBEDDING) for name in kinds},
        configs=_config_types(source),
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


def _find_class(source: Source, place: tuple[str, str]) -> Found | None:
    module, name = place
    owner = source.find(module if "." in module else f"{_MODELS}.{module}", name)
    return owner if owner is not None and isinstance(owner.node, ast.ClassDef) else None


def _read_lora(source: Source, place: tuple[str, str]) -> tuple[str, ...] | None:
    """The `embedding_modules` of a class that supports LoRA; None if it does not."""
    owner = _find_class(source, place)
    if owner is None:
        return _ANY_EMBEDDING
    classes = [found.node for found in source.bases(owner)]
    if not any(_supports_lora(node) for node in classes):
        return None
    parts = (part for node in classes for part in ast.iter_child_nodes(node))
    for part in parts:
        if _assigned(part) == "embedding_modules" and isinstance(part, ast.Assign | ast.AnnAssign) and part.value:
            try:
                return tuple(sorted(map(str, ast.literal_eval(part.value))))
            except ValueError:
                return _ANY_EMBEDDING
    return ()


def _supports_lora(node: ast.AST) -> bool:
    if isinstance(node, ast.ClassDef) and node.name == "SupportsLoRA":
        return True
    return any(ast.unparse(part) == "supports_lora = True" for part in ast.iter_child_nodes(node))


def _assigned(part: ast.AST) -> str:
    if isinstance(part, ast.Assign):
        return ast.unparse(part.targets[0])
    return ast.unparse(part.target) if isinstance(part, ast.AnnAssign) else ""


def _config_types(source: Source) -> frozenset[str]:
    found = source.find(*_CONFIGS)
    match found.node if found else None:
        case ast.Call(keywords=keywords):
            return frozenset(keyword.arg for keyword in keywords if keyword.arg)
        case ast.Dict(keys=keys):
            return frozenset(str(ast.literal_eval(key)) for key in keys if isinstance(key, ast.Constant))
        case _:
            raise LookupError(f"{_CONFIGS[0]} has no {_CONFIGS[1]}")


def _only_transcribes(source: Source, place: tuple[str, str]) -> bool:
    """Whether the class says that it takes speech and nothing else."""
    if (owner := _find_class(source, place)) is None:
        return False
    # The mixin that declares it sets it to False.
    own = (part for found in source.bases(owner) for part in ast.iter_child_nodes(found.node))
    values = (ast.unparse(part) for part in own if isinstance(part, ast.Assign | ast.AnnAssign))
    return any(text.startswith("supports_transcription_only") and text.endswith("= True") for text in values)


def _texts(source: Source, name: str) -> dict[str, str]:
    found = source.find(_MODULE, name)
    return ast.literal_eval(found.node) if found and isinstance(found.node, ast.Dict) else {}
