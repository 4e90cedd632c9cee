"""LoRA adapters: whether vLLM loads one, and whether it changes anything of the model it is for. Pure.

vLLM passes over tensors that fit no module of the model, without a word: requests with that adapter then get the
model's own answers (vllm-project/vllm issue 34186).
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from triton_vllm_operator.api.lora import LARGEST_LORA_RANK, engine_rank
from triton_vllm_operator.sources.fault import not_servable
from triton_vllm_operator.sources.files import Files, Json
from triton_vllm_operator.sources.formats import ADAPTER_CONFIG
from triton_vllm_operator.sources.report import ModelFacts
from triton_vllm_operator.sources.safetensors import Tensor, Tensors
from triton_vllm_operator.sources.task import Expectation

ADAPTER_WEIGHTS: Final = ("adapter_model.safetensors", "adapter_model.bin", "adapter_model.pt")
_SAVED_MODULES: Final = frozenset({"classifier", "score"})
# https://github.com/vllm-project/vllm/blob/main/vllm/lora/utils.py (parse_fine_tuned_lora_name)
_PREFIX: Final = "base_model.model."
_LORA: Final = re.compile(r"(?P<module>.+)\.(lora_(?P<half>[AB])\.weight|lora_embedding_(?P<embedding>[AB]))")
_LAYER: Final = re.compile(r"(?P<prefix>.*?)\b(layers|h|blocks)\.\d+\..*")
_WEIGHT: Final = ".weight"
# Types whose shapes are those of the weight; quantised weights are packed.
_WHOLE: Final = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
# A model with a tied head has no tensor of that name.
_TIED: Final = ("lm_head", "embed_tokens")
_SHOWN: Final = 3


def check_adapter(files: Files, expected: Expectation) -> ModelFacts:
    """What an adapter's own files say.

    Raises:
        SourceFault: vLLM would not load it.
    """
    if ADAPTER_CONFIG not in files:
        raise not_servable(f"no {ADAPTER_CONFIG} {files.where}: these are not the files of a LoRA adapter")
    config = files.read_json(ADAPTER_CONFIG)
    kind = config.get("peft_type", "LORA")
    if kind != "LORA":
        raise not_servable(f"{ADAPTER_CONFIG} {files.where} is of type {kind}; only LORA is served")
    # https://github.com/vllm-project/vllm/blob/main/vllm/lora/peft_helper.py
    saved = config.get("modules_to_save")
    refused = {
        "use_dora": bool(config.get("use_dora")),
        "modules_to_save": isinstance(saved, list) and not set(map(str, saved)) <= _SAVED_MODULES,
    }
    for key in (key for key, is_set in refused.items() if is_set):
        raise not_servable(f"{ADAPTER_CONFIG} {files.where} sets {key}, which vLLM does not serve")
    if not any(name in files for name in ADAPTER_WEIGHTS):
        raise not_servable(f"no adapter_model.safetensors {files.where}: vLLM reads an adapter under no other name")
    _check_rank(config, expected.max_lora_rank)
    return ModelFacts(lora_rank=_rank(config))


def _rank(config: Json) -> int | None:
    patterns = config.get("rank_pattern")
    ranks = [config.get("r"), *(patterns.values() if isinstance(patterns, dict) else ())]
    counts = [rank for rank in ranks if isinstance(rank, int) and not isinstance(rank, bool) and rank > 0]
    return max(counts, default=None)


def _check_rank(config: Json, limit: int | None) -> None:
    rank = _rank(config)
    if rank and rank > LARGEST_LORA_RANK:
        raise not_servable(f"the adapter has rank {rank}, and vLLM serves none above {LARGEST_LORA_RANK}")
    if rank and limit and rank > limit:
        fix = f"write spec.engine.maxLoraRank: {engine_rank(rank)}"
        raise not_servable(f"the adapter has rank {rank}, more than {limit}: {fix}")


@dataclass(frozen=True, slots=True)
class _Half:
    """One of the two tensors by which an adapter changes a module."""

    module: str
    is_a: bool
    shape: tuple[int, ...]


def check_fits(adapter: Tensors, model: Tensors, is_multimodal: bool) -> str:
    """That an adapter changes the model; a warning if parts of it do not, empty if all do.

    Raises:
        SourceFault: no tensor of it fits a module of the model.
    """
    halves = tuple(_halves(adapter))
    if not halves or not model:
        return ""
    modules = frozenset(name.rpartition(".")[0] for name in model)
    # What is quantised lies in several tensors, whose shapes are not those of the module.
    weights = {name.removesuffix(_WEIGHT): tensor for name, tensor in model.items() if name.endswith(_WEIGHT)}
    key = _end if is_multimodal else str
    known, shapes = {key(module) for module in modules}, defaultdict[str, list[Tensor]](list)
    for module, tensor in weights.items():
        shapes[key(module)].append(tensor)
    strangers = sorted({half.module for half in halves if not _is_there(half.module, key(half.module) in known)})
    named = {half.module for half in halves}
    if len(strangers) == len(named):
        raise not_servable(_say_strangers(strangers, modules))
    for half in halves:
        if misfit := _misfit(half, shapes[key(half.module)]):
            raise not_servable(misfit)
    if not strangers:
        return ""
    return f"vLLM passes over {len(strangers)} of its {len(named)} modules, as {', '.join(strangers[:_SHOWN])}"


def _halves(adapter: Tensors) -> Iterator[_Half]:
    for name, tensor in adapter.items():
        if found := _LORA.fullmatch(name.removeprefix(_PREFIX)):
            yield _Half(found["module"], "A" in (found["half"], found["embedding"]), tensor.shape)


def _is_there(module: str, is_known: bool) -> bool:
    # The experts of a mixture lie in one tensor in some models and in many in others.
    return is_known or ".experts" in module or module.endswith(_TIED)


def _end(module: str) -> str:
    """Models with several parts are renamed by vLLM, each in its own way: only the end of a name is certain."""
    found = _LAYER.fullmatch(module)
    return module[len(found["prefix"]) :] if found else module.rpartition(".")[2]


def _say_strangers(strangers: list[str], modules: frozenset[str]) -> str:
    said = (
        f"the adapter changes {', '.join(strangers[:_SHOWN])} and the like, and the model has no module of such a name"
    )
    ends = {_end(module): module for module in modules}
    if (own := ends.get(_end(strangers[0]))) is not None:
        return (
            f"{said}: there it is called {own}. vLLM would answer as if there were no adapter; it was trained on "
            "another form of the model: rename its tensors, or serve that form"
        )
    return f"{said}: it was trained on another model"


def _misfit(half: _Half, tensors: list[Tensor]) -> str:
    """What is wrong if none of the modules that may be meant has the size."""
    comparable = [tensor for tensor in tensors if tensor.dtype in _WHOLE and len(tensor.shape) == 2]
    if not comparable or len(comparable) < len(tensors) or len(half.shape) != 2:
        return ""
    width = half.shape[1] if half.is_a else half.shape[0]
    # Some models keep a weight the other way round.
    if any(width in tensor.shape for tensor in comparable):
        return ""
    shape = " x ".join(map(str, comparable[0].shape))
    return (
        f"the adapter's {half.module} is for {width} values, and the model's has {shape}: "
        "it was trained on another size of the model"
    )
