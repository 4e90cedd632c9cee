"""Whether a model generates text with the vLLM version that will serve it. Pure."""

import json
import re
from typing import Final

from triton_vllm_operator.sources.architectures import Kind, Lora, Unknown, load_architectures
from triton_vllm_operator.sources.config_code import check_config_code
from triton_vllm_operator.sources.fault import not_servable
from triton_vllm_operator.sources.files import Files, Json
from triton_vllm_operator.sources.task import Expectation, Role

_ONLY: Final = "only models that generate text are served"
_DOES: Final = {
    Kind.EMBEDS: f"a model that embeds; {_ONLY}",
    Kind.RANKS: f"a model that ranks; {_ONLY}",
    Kind.CLASSIFIES: f"a model that classifies; {_ONLY}",
    Kind.REWARDS: f"a reward model; {_ONLY}",
    Kind.TRANSCRIBES: f"a model that takes speech alone; {_ONLY}",
    Kind.DRAFTS: "a model that drafts for another one: it goes to spec.engine.speculativeConfig.model",
}
# For versions that are not catalogued. https://github.com/vllm-project/vllm/blob/main/vllm/config/model.py
_POOLING: Final = (
    "ForTextEncoding",
    "EmbeddingModel",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForMaskedLM",
    "ForRewardModel",
    "RewardModel",
    "BertModel",
    "RobertaModel",
    "GteModel",
)
SENTENCE_MODULES: Final = "modules.json"
_SENTENCE_FOLDER: Final = re.compile(r"[0-9]+_(Pooling|Normalize|Dense|SpladePooling|WordEmbeddings)")


def architecture_names(config: Json) -> tuple[str, ...]:
    """What config.json names, in its order."""
    named = config.get("architectures")
    return tuple(str(name)[:128] for name in named) if isinstance(named, list) else ()


def check_generates(files: Files, config: Json, expected: Expectation) -> str:
    """That the version would generate text; a warning where only the engine can tell, empty if it is certain.

    Raises:
        SourceFault: it would not.
    """
    _check_sentence_files(files)
    if not config:
        # Mistral's own format says no class: vLLM takes it for one that generates.
        return ""
    if isinstance(config.get("speculators_config"), dict):
        # vllm/transformers_utils/configs/speculators reads these in a way of its own.
        _refuse_drafts(files, expected)
        return ""
    warning = _judge_architectures(files, config, expected)
    check_config_code(files, config, expected)
    return warning


def _judge_architectures(files: Files, config: Json, expected: Expectation) -> str:
    """What is to be said of them: one that the version takes decides, else the first."""
    known = {name: load_architectures().find(expected.vllm, name) for name in architecture_names(config)}
    wanted = {Kind.GENERATES, Kind.DRAFTS} if expected.role is Role.DRAFT else {Kind.GENERATES}
    if not known:
        _refuse_unnamed(files, expected)
        return ""
    if any(kind in wanted for kind in known.values()):
        return ""
    name, found = next(iter(known.items()))
    if not isinstance(found, Kind):
        _refuse_by_suffix(name, files)
    kind = found.kind if isinstance(found, Unknown) else found
    if kind is not None and kind not in wanted:
        raise not_servable(f"config.json {files.where} names {name}, {_DOES[kind]}")
    return _judge_unknown(name, found, files, config, expected) if isinstance(found, Unknown) else ""


def _refuse_drafts(files: Files, expected: Expectation) -> None:
    if expected.role is Role.MODEL:
        raise not_servable(f"config.json {files.where} is of {_DOES[Kind.DRAFTS]}")


def _refuse_unnamed(files: Files, expected: Expectation) -> None:
    """VLLM takes a model without the name of a class for one that embeds, or for none."""
    if expected.role is Role.MODEL and load_architectures().has(expected.vllm):
        raise not_servable(
            f"config.json {files.where} names no architectures, without which vLLM {expected.vllm} generates nothing: "
            "write spec.engine.extraArgs.hf_overrides: {architectures: [LlamaForCausalLM]}, with the model's own class"
        )


def check_takes_adapters(config: Json, vllm: str) -> tuple[str, ...] | None:
    """What an adapter of the model may change beside linear modules, as embed_tokens; None if nobody can tell.

    Raises:
        SourceFault: the version loads no adapter of it.
    """
    found = [(name, load_architectures().find_lora(vllm, name)) for name in architecture_names(config)]
    name, lora = next(((n, lora) for n, lora in found if lora is not Lora.UNKNOWN), ("", Lora.UNKNOWN))
    if lora is Lora.NONE:
        raise not_servable(
            f"the model is {name}, of which vLLM {vllm} loads no LoRA adapter: serve the model without it"
        )
    return lora if isinstance(lora, tuple) else None


def _check_sentence_files(files: Files) -> None:
    """VLLM takes a model with these for one that embeds, whatever its architecture."""
    folder = next(filter(_SENTENCE_FOLDER.fullmatch, sorted(files.folders)), None)
    if folder is None and SENTENCE_MODULES in files and files.can_read(SENTENCE_MODULES):
        try:
            modules = json.loads(files.read(SENTENCE_MODULES))
        except (ValueError, RecursionError):
            return
        kinds = (
            [str(module.get("type")) for module in modules if isinstance(module, dict)]
            if isinstance(modules, list)
            else []
        )
        folder = SENTENCE_MODULES if any("Pooling" in kind for kind in kinds) else None
    if folder is not None:
        raise not_servable(f"{folder} {files.where} says that the model embeds sentences; {_ONLY}")


def _refuse_by_suffix(name: str, files: Files) -> None:
    if name.endswith(_POOLING):
        raise not_servable(f"config.json {files.where} names {name}, a model that embeds or classifies; {_ONLY}")


def _judge_unknown(name: str, unknown: Unknown, files: Files, config: Json, expected: Expectation) -> str:
    says = f"config.json {files.where} names {name}, which vLLM {expected.vllm} does not know"
    if unknown.may_be_generic:
        return f"{says}: its generic Transformers backend may take it, and may be slower"
    if isinstance(config.get("auto_map"), dict) and (expected.trust_remote_code or not unknown.last):
        if expected.trust_remote_code:
            had = f"{unknown.last} was the last that did; " if unknown.last else ""
            return f"{says}: {had}the code that lies beside the weights must fit vLLM's Transformers backend"
        raise not_servable(f"{says}; code for it lies beside the weights: spec.engine.trustRemoteCode: true runs it")
    raise not_servable(says + _advise(unknown))


def _advise(unknown: Unknown) -> str:
    if unknown.plugin:
        return f"; its code lies in {unknown.plugin}, which an image of your own can hold"
    if unknown.last and not load_architectures().offers(unknown.last):
        return f"; {unknown.last} was the last version that did, and an image of your own would have to hold it"
    if unknown.last:
        return f"; {unknown.last} was the last version that did: choose a spec.runtime with it or an older one"
    if unknown.first:
        return f"; {unknown.first} is the first version that does: choose a spec.runtime with it or a newer one"
    return "; no version does, and it brings no code of its own"
