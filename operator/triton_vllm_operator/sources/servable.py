"""Whether files are those of a model or an adapter that vLLM can generate with. Pure.

Only what is certain is refused: a model that vLLM might load passes, and its engine has the last word.
"""

import json
import struct
from collections.abc import Callable
from typing import Final

from triton_vllm_operator.api.lora import LARGEST_LORA_RANK, engine_rank
from triton_vllm_operator.sources.fault import not_servable
from triton_vllm_operator.sources.files import Files, Json
from triton_vllm_operator.sources.report import ModelFacts
from triton_vllm_operator.sources.task import Expectation, Role

_CONFIG: Final = "config.json"
_MISTRAL_CONFIG: Final = "params.json"
_ADAPTER_CONFIG: Final = "adapter_config.json"
# Kinds of weights in the order in which vLLM looks for them, each with the index that names its parts.
_WEIGHTS: Final = (
    ((".safetensors",), "model.safetensors.index.json"),
    ((".bin", ".pt", ".pth"), "pytorch_model.bin.index.json"),
    ((".gguf",), ""),
)
TOKENIZERS: Final = (
    "*token*",
    "*vocab*",
    "*.tiktoken",
    "*.model",
    "*.model.*",
    "*.spm",
    "*.tok",
    "tekken.json",
    "merges.txt",
)
"""Names under which tokenizers come. There are many: a model without any of these has none."""
# Formats that are read from files with these names; the others (dummy, tensorizer, ...) have their own.
_CHECKED_FORMATS: Final = (None, "auto", "hf", "safetensors", "pt", "npcache", "bitsandbytes", "fastsafetensors")
# Architectures of models that embed, classify or score.
# https://github.com/vllm-project/vllm/blob/main/vllm/config/model.py (_SUFFIX_TO_DEFAULTS)
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
_UNSCALED: Final = "default"
_HEADS: Final = ("num_attention_heads", "n_head", "n_heads")
_SAVED_MODULES: Final = frozenset({"classifier", "score"})
_HEADER_LIMIT: Final = 100_000_000
"""Bytes; safetensors' own limit of a header."""


def check_source(files: Files, expected: Expectation) -> ModelFacts | None:
    """What the files say; None where only the engine can tell.

    Raises:
        SourceFault: the engine would not start with them, or could not load the adapter.
    """
    if expected.role is Role.ADAPTER:
        return _check_adapter(files, expected)
    if expected.load_format not in _CHECKED_FORMATS:
        return None
    config = _read_config(files)
    if not expected.overrides_config:
        _check_architecture(files, config)
    weights = _check_weights(files)
    if expected.needs_tokenizer and not files.matching(*TOKENIZERS):
        raise not_servable(f"no tokenizer {files.where}: it needs tokenizer.json, tokenizer.model or the like")
    facts = _find_facts(config, sum(files.sizes[name] for name in weights))
    if expected.role is Role.MODEL and not expected.overrides_config:
        _check_expectation(config, facts, expected)
    return facts


def _read_config(files: Files) -> Json:
    if _CONFIG in files:
        return files.read_json(_CONFIG)
    if _MISTRAL_CONFIG in files or files.ending(".gguf"):
        return {}
    found = ", ".join(sorted(files.sizes)[:8]) or "nothing"
    raise not_servable(f"no config.json {files.where}: these are not the files of a model; found {found}")


def _check_architecture(files: Files, config: Json) -> None:
    architecture = _architecture(config)
    if architecture and architecture.endswith(_POOLING):
        raise not_servable(
            f"config.json {files.where} names {architecture}, a model that embeds or classifies; "
            "only models that generate text are served"
        )


def _check_weights(files: Files) -> tuple[str, ...]:
    """The files of the kind of weights that the engine reads: others may lie about, with an index that is stale."""
    kinds = ((files.ending(*ends), index) for ends, index in _WEIGHTS)
    weights, index = next(((found, index) for found, index in kinds if found), ((), ""))
    if not weights:
        raise not_servable(f"no weights {files.where}: it needs *.safetensors")
    mapped = files.read_json(index).get("weight_map") if index in files else None
    missing = sorted({str(name) for name in mapped.values()} - set(files.sizes)) if isinstance(mapped, dict) else []
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise not_servable(f"{missing[0]}{more}, named by {index}, is not {files.where}")
    return weights


def check_complete(name: str, size: int, read_start: Callable[[int], bytes]) -> None:
    """That a safetensors file is as long as its own header says.

    Raises:
        SourceFault: it was cut off, or is no safetensors file.
    """
    (length,) = struct.unpack("<Q", read_start(8).ljust(8, b"\0"))
    if size < 8 or not 2 <= length <= min(_HEADER_LIMIT, size):
        raise not_servable(f"{name} is no safetensors file")
    try:
        header = json.loads(read_start(8 + length)[8:])
        ends = [int(tensor["data_offsets"][1]) for key, tensor in header.items() if key != "__metadata__"]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise not_servable(f"{name} is no safetensors file: its header cannot be read") from error
    end = max(ends, default=0)
    if size != 8 + length + end:
        raise not_servable(f"{name} has {size} bytes where its header says {8 + length + end}: it was cut off")


def _find_facts(config: Json, weight_bytes: int) -> ModelFacts:
    text = config.get("text_config")
    layered = {**config, **text} if isinstance(text, dict) else config
    return ModelFacts(
        architecture=_architecture(config),
        attention_heads=next((n for key in _HEADS if (n := _count(layered.get(key)))), None),
        max_position_embeddings=_count(layered.get("max_position_embeddings")),
        weight_bytes=weight_bytes,
    )


def _architecture(config: Json) -> str | None:
    named = config.get("architectures")
    return str(named[0])[:128] if isinstance(named, list) and named else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _check_expectation(config: Json, facts: ModelFacts, expected: Expectation) -> None:
    heads, ranks = facts.attention_heads, expected.tensor_parallel_size
    if heads and heads % ranks:
        fitting = ", ".join(str(n) for n in range(1, 17) if heads % n == 0)
        raise not_servable(
            f"spec.engine.tensorParallelSize {ranks} does not divide the model's {heads} attention heads; "
            f"choose one of {fitting}"
        )
    # https://github.com/vllm-project/vllm/blob/main/vllm/config/model.py: Command-R's model_max_length counts.
    longest = max(facts.max_position_embeddings or 0, _count(config.get("model_max_length")) or 0)
    if longest and expected.max_model_len and expected.max_model_len > longest and not _stretches(config):
        raise not_servable(
            f"spec.engine.maxModelLen {expected.max_model_len} is more than the {longest} tokens that the model knows "
            "(max_position_embeddings in config.json)"
        )


def _stretches(config: Json) -> bool:
    """Whether the model scales its positions, so that its longest sequence is not told by one number."""
    text = config.get("text_config")
    parts = (config, text if isinstance(text, dict) else {})
    scalings = (part.get(key) for part in parts for key in ("rope_scaling", "rope_parameters"))
    return "auto_map" in config or any(_scales(scaling) for scaling in scalings if isinstance(scaling, dict))


def _scales(scaling: Json) -> bool:
    kind = scaling.get("rope_type", scaling.get("type", _UNSCALED))
    # Some models hold one set of parameters for each type of their layers.
    nested = (value for value in scaling.values() if isinstance(value, dict))
    return kind != _UNSCALED or any(_scales(part) for part in nested)


def _check_adapter(files: Files, expected: Expectation) -> ModelFacts:
    if _ADAPTER_CONFIG not in files:
        raise not_servable(f"no {_ADAPTER_CONFIG} {files.where}: these are not the files of a LoRA adapter")
    config = files.read_json(_ADAPTER_CONFIG)
    kind = config.get("peft_type", "LORA")
    if kind != "LORA":
        raise not_servable(f"{_ADAPTER_CONFIG} {files.where} is of type {kind}; only LORA is served")
    # https://github.com/vllm-project/vllm/blob/main/vllm/lora/peft_helper.py
    saved = config.get("modules_to_save")
    refused = {
        "use_dora": bool(config.get("use_dora")),
        "modules_to_save": isinstance(saved, list) and not set(map(str, saved)) <= _SAVED_MODULES,
    }
    for key in (key for key, is_set in refused.items() if is_set):
        raise not_servable(f"{_ADAPTER_CONFIG} {files.where} sets {key}, which vLLM does not serve")
    if not files.ending(".safetensors", ".bin", ".pt"):
        raise not_servable(f"no adapter_model.safetensors {files.where}")
    patterns = config.get("rank_pattern")
    ranks = [config.get("r"), *(patterns.values() if isinstance(patterns, dict) else ())]
    rank, limit = max(filter(None, map(_count, ranks)), default=None), expected.max_lora_rank
    if rank and rank > LARGEST_LORA_RANK:
        raise not_servable(f"the adapter has rank {rank}, and vLLM serves none above {LARGEST_LORA_RANK}")
    if rank and limit and rank > limit:
        fix = f"write spec.engine.maxLoraRank: {engine_rank(rank)}"
        raise not_servable(f"the adapter has rank {rank}, more than {limit}: {fix}")
    return ModelFacts(lora_rank=rank)
