"""What a LoRA adapter changes, by the names and shapes of its tensors. Pure.

vLLM passes over tensors that fit no module of the model, without a word: requests with that adapter then get the
model's own answers (vllm-project/vllm issue 34186).
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from triton_vllm_operator.api.vllm_versions import version_order
from triton_vllm_operator.sources.adapters import check_rank, reads_bias
from triton_vllm_operator.sources.config import TOWERS
from triton_vllm_operator.sources.fault import not_servable
from triton_vllm_operator.sources.safetensors import Tensor, Tensors
from triton_vllm_operator.sources.task import Expectation

# https://github.com/vllm-project/vllm/blob/main/vllm/lora/utils.py (parse_fine_tuned_lora_name)
_PREFIX: Final = "base_model.model."
_LORA: Final = re.compile(r"(?P<module>.+)\.(lora_(?P<half>[AB])\.weight|lora_embedding_(?P<embedding>[AB]))")
# What trainers save beside the adapter, which vLLM leaves out (is_base_embedding_weights there).
_OF_THE_BASE: Final = (".embed_tokens.base_layer.weight", ".lm_head.base_layer.weight")
_BIAS: Final = ".bias"
_MAGNITUDE: Final = "lora_magnitude_vector"
_LAYER: Final = re.compile(r"(?P<prefix>.*?)\b(layers|h|blocks)\.\d+\..*")
_WEIGHT: Final = ".weight"
# Types whose shapes are those of the weight; quantised weights are packed.
_WHOLE: Final = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
# A model with a tied head has no tensor of that name.
_TIED: Final = ("lm_head", "embed_tokens")
_EXPERTS: Final = (".experts", ".experts.base_layer")
_EXPERTS_SINCE: Final = (0, 11, 1)
"""The first version that adapts the experts of a mixture: vllm/lora/layers/fused_moe.py."""
# How the names of those parts begin that see and hear, and of what joins them to the language model.
_TOWER: Final = re.compile(rf"(model\.)?({TOWERS})\.")
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class _Half:
    """One of the two tensors by which an adapter changes a module."""

    module: str
    is_a: bool
    shape: tuple[int, ...]


def check_halves(adapter: Tensors, expected: Expectation) -> None:
    """That every tensor is one that vLLM reads, and that they belong together two by two.

    Raises:
        SourceFault: vLLM would not load it, or it would change nothing.
    """
    passed_over = (*_OF_THE_BASE, _BIAS) if reads_bias(expected.vllm) else _OF_THE_BASE
    if strange := next((name for name in adapter if not name.endswith(passed_over) and not _parse(name)), None):
        dora = ": DoRA is not served" if _MAGNITUDE in strange else ""
        raise not_servable(
            f"the adapter's tensor {strange[:200]} has no name that vLLM reads{dora}; it reads MODULE.lora_A.weight "
            "and MODULE.lora_B.weight, as the peft library saves them"
        )
    pairs = defaultdict[str, dict[bool, tuple[int, ...]]](dict)
    for half in _halves(adapter):
        pairs[half.module][half.is_a] = half.shape
    if not pairs:
        raise not_servable("the adapter holds no tensor of LoRA: it would change nothing")
    for module, pair in pairs.items():
        _check_pair(module, pair.get(True), pair.get(False), expected.max_lora_rank)


def _check_pair(module: str, a: tuple[int, ...] | None, b: tuple[int, ...] | None, limit: int | None) -> None:
    if a is None or b is None:
        there, missing = ("B", "A") if a is None else ("A", "B")
        raise not_servable(f"the adapter has lora_{there} of {module[:200]} and no lora_{missing}: vLLM cannot load it")
    if len(a) != 2 or len(b) != 2:
        return
    if a[0] != b[1]:
        shapes = " and ".join(" x ".join(map(str, shape)) for shape in (a, b))
        raise not_servable(
            f"lora_A and lora_B of {module[:200]} are {shapes}, which do not belong together: "
            "lora_A is rank x inputs, lora_B outputs x rank"
        )
    # Of experts that lie in one tensor the ranks lie in one as well.
    if not module.endswith(_EXPERTS):
        check_rank(a[0], limit)


def check_embeddings(adapter: Tensors, allowed: tuple[str, ...] | None) -> None:
    """That it changes only such embeddings as vLLM adapts of this model; None if nobody can tell.

    Raises:
        SourceFault: the engine would end when it loads it.
    """
    if allowed is None:
        return
    modules = {half.module for half in _halves(adapter) if half.module.endswith(_TIED)}
    if strange := sorted(module for module in modules if _last_word(module) not in allowed):
        raise not_servable(
            f"the adapter changes {', '.join(strange[:_SHOWN])}, which vLLM does not adapt of this model: train it "
            "without, or merge it into the model"
        )


def check_experts(adapter: Tensors, vllm: str) -> None:
    """That it changes no experts of a mixture where the version adapts none.

    Raises:
        SourceFault: it does.
    """
    version = version_order(vllm)
    modules = sorted({half.module for half in _halves(adapter) if ".experts" in half.module})
    if modules and version and version < _EXPERTS_SINCE:
        first = ".".join(map(str, _EXPERTS_SINCE))
        raise not_servable(
            f"the adapter changes {modules[0][:200]}, and vLLM {vllm} adapts no experts: choose a spec.runtime with "
            f"vLLM {first} or newer"
        )


def check_towers(adapter: Tensors, expected: Expectation) -> str:
    """Of a model with several parts: that it changes the one that makes text; a warning if it changes others as well.

    https://github.com/vllm-project/vllm/blob/main/vllm/lora/model_manager.py (_create_lora_modules)

    Raises:
        SourceFault: it changes nothing that vLLM adapts.
    """
    modules = sorted({half.module for half in _halves(adapter)})
    towers = [module for module in modules if _TOWER.match(module)]
    if expected.adapts_towers or not towers:
        return ""
    fix = "write spec.engine.extraArgs.enable_tower_connector_lora: true to adapt them"
    if not expected.can_adapt_towers:
        fix = f"vLLM {expected.vllm} adapts none: a newer spec.runtime may"
    if len(towers) == len(modules):
        raise not_servable(
            f"the adapter changes nothing but what sees or hears, as {towers[0][:200]}, which vLLM passes over: {fix}"
        )
    return f"vLLM passes over {len(towers)} of its {len(modules)} modules, as {towers[0]}: {fix}"


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
    words = {_last_word(module) for module in modules}
    if unknown := [module for module in strangers if _last_word(module) not in words]:
        # vLLM's from_local_checkpoint (vllm/lora/lora_model.py), which is called in the process of the engine.
        raise not_servable(
            f"the adapter changes {', '.join(unknown[:_SHOWN])}, and the model has no module of such a name anywhere: "
            "the engine would end when it loads it; it was trained on another form of the model"
        )
    for half in halves:
        if misfit := _misfit(half, shapes[key(half.module)]):
            raise not_servable(misfit)
    if not strangers:
        return ""
    return f"vLLM passes over {len(strangers)} of its {len(named)} modules, as {', '.join(strangers[:_SHOWN])}"


def _parse(name: str) -> re.Match[str] | None:
    return _LORA.fullmatch(name.removeprefix(_PREFIX))


def _halves(adapter: Tensors) -> Iterator[_Half]:
    for name, tensor in adapter.items():
        if found := _parse(name):
            yield _Half(found["module"], "A" in (found["half"], found["embedding"]), tensor.shape)


def _is_there(module: str, is_known: bool) -> bool:
    # The experts of a mixture lie in one tensor in some models and in many in others.
    return is_known or ".experts" in module or module.endswith(_TIED)


def _last_word(module: str) -> str:
    return module.rpartition(".")[2]


def _end(module: str) -> str:
    """Models with several parts are renamed by vLLM, each in its own way: only the end of a name is certain."""
    found = _LAYER.fullmatch(module)
    return module[len(found["prefix"]) :] if found else _last_word(module)


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
