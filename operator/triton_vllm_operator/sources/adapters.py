"""LoRA adapters: whether vLLM loads one, by its own files. Pure."""

from typing import Final

from triton_vllm_operator.api.lora import LARGEST_LORA_RANK, engine_rank
from triton_vllm_operator.api.vllm_versions import version_order
from triton_vllm_operator.sources.config import as_count
from triton_vllm_operator.sources.fault import not_servable
from triton_vllm_operator.sources.files import Files, Json
from triton_vllm_operator.sources.formats import ADAPTER_CONFIG
from triton_vllm_operator.sources.report import ModelFacts
from triton_vllm_operator.sources.task import Expectation

ADAPTER_WEIGHTS: Final = ("adapter_model.safetensors", "adapter_model.bin", "adapter_model.pt")
_SAVED_MODULES: Final = frozenset({"classifier", "score"})
_WITHOUT_BIAS: Final = (0, 11, 1)
"""The first version without `enable_lora_bias`."""
# https://github.com/vllm-project/vllm/blob/main/vllm/lora/peft_helper.py: what it passes over although the adapter was
# trained with it, since it scales all modules by lora_alpha and r.
_PASSED_OVER: Final = ("alpha_pattern", "rank_pattern", "alora_invocation_tokens", "layer_replication")
# What it knows no default for.
_NEEDED: Final = ("r", "lora_alpha", "target_modules")
# As peft writes it of adapters of parameters (target_parameters).
_MAY_BE_NULL: Final = ("target_modules",)


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
        "bias": config.get("bias", "none") not in ("none", None) and not reads_bias(expected.vllm),
    }
    for key in (key for key, is_set in refused.items() if is_set):
        raise not_servable(f"{ADAPTER_CONFIG} {files.where} sets {key}, which vLLM does not serve")
    if missing := [key for key in _NEEDED if key not in config or (config[key] is None and key not in _MAY_BE_NULL)]:
        raise not_servable(
            f"{ADAPTER_CONFIG} {files.where} says no {', '.join(missing)}, without which vLLM loads none"
        )
    if not find_adapter_weights(files):
        raise not_servable(f"no adapter_model.safetensors {files.where}: vLLM reads an adapter under no other name")
    rank = _rank(config)
    check_rank(rank, expected.max_lora_rank)
    ignored = ", ".join(key for key in _PASSED_OVER if config.get(key))
    warning = f"vLLM ignores {ignored} of {ADAPTER_CONFIG}: the adapter will answer otherwise than it was trained to"
    return ModelFacts(lora_rank=rank, warning=warning if ignored else None)


def find_adapter_weights(files: Files) -> tuple[str, ...]:
    """The file that vLLM reads of an adapter; empty if there is none."""
    return tuple(name for name in ADAPTER_WEIGHTS if name in files)[:1]


def _rank(config: Json) -> int | None:
    patterns = config.get("rank_pattern")
    ranks = [config.get("r"), *(patterns.values() if isinstance(patterns, dict) else ())]
    return max(filter(None, map(as_count, ranks)), default=None)


def reads_bias(vllm: str) -> bool:
    """Whether a version may read an adapter's bias: those that are not known may."""
    return version_order(vllm) < _WITHOUT_BIAS


def check_rank(rank: int | None, limit: int | None) -> None:
    """That the engine has room for an adapter of that rank.

    Raises:
        SourceFault: it has not.
    """
    if rank and rank > LARGEST_LORA_RANK:
        raise not_servable(f"the adapter has rank {rank}, and vLLM serves none above {LARGEST_LORA_RANK}")
    if rank and limit and rank > limit:
        fix = f"write spec.engine.maxLoraRank: {engine_rank(rank)}"
        raise not_servable(f"the adapter has rank {rank}, more than {limit}: {fix}")
