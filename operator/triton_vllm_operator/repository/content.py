"""The model repository of one LLMDeployment: two or three files, as Triton's vLLM backend reads them.

All engine settings go to model.json, which the backend hands to vLLM's AsyncEngineArgs; config.pbtxt
is the same for every model. Facts: docs/design/repository.md.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import JsonValue

from triton_vllm_operator.api.engine import AUTO, Engine, SpeculativeConfig
from triton_vllm_operator.api.lora import DEFAULT_LORA_RANK, engine_rank
from triton_vllm_operator.api.quantity import parse_quantity

# KIND_MODEL leaves the choice of GPUs to vLLM. Inputs, outputs and max_batch_size are left to the
# backend's auto-completion: written by hand they are refused or become required tensors.
CONFIG_PBTXT: Final = """\
backend: "vllm"
instance_group [
  {
    count: 1
    kind: KIND_MODEL
  }
]
parameters {
  key: "REPORT_CUSTOM_METRICS"
  value { string_value: "true" }
}
"""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the container finds what was mounted for it; absolute paths."""

    model: str
    tokenizer: str | None = None
    """Of the tokenizer, if it does not lie with the model."""
    draft: str | None = None
    """Of the draft model, if there is one."""
    adapters: Mapping[str, str] = field(default_factory=dict)
    """Of each LoRA adapter, by its name."""
    lora_rank: int | None = None
    """The largest rank among the adapters, as far as they were looked at."""


@dataclass(frozen=True, slots=True)
class Repository:
    """The text of the files of a model repository."""

    config_pbtxt: str
    model_json: str
    multi_lora_json: str | None = None
    """None if there are no LoRA adapters."""


def build_repository(engine: Engine, places: Places) -> Repository:
    """The repository that serves what lies at `places`."""
    arguments = engine_arguments(engine, places)
    return Repository(CONFIG_PBTXT, _dump(arguments), _dump(dict(places.adapters)) if places.adapters else None)


def _dump(content: Mapping[str, JsonValue]) -> str:
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


def engine_arguments(engine: Engine, places: Places) -> dict[str, JsonValue]:
    """The arguments that follow from the spec, by vLLM's own names and in JSON's native types.

    Strings in place of numbers or booleans are misread by vLLM: "false" enables LoRA.
    """
    arguments: dict[str, JsonValue] = engine.model_dump(
        mode="json", by_alias=False, exclude_none=True, exclude={"extra_args"}
    )
    if engine.max_model_len == AUTO:
        # "auto" is a word of vLLM's command line; its configuration takes -1.
        arguments["max_model_len"] = -1
    if engine.kv_cache_memory_bytes is not None:
        arguments["kv_cache_memory_bytes"] = int(parse_quantity(engine.kv_cache_memory_bytes))
    if engine.speculative_config is not None:
        arguments["speculative_config"] = _speculative_arguments(engine.speculative_config, places.draft)
    if places.adapters:
        # One slot for each: with fewer, requests for different adapters wait for one another.
        arguments |= {"enable_lora": True, "max_loras": len(places.adapters)}
        if engine.max_lora_rank is None and (places.lora_rank or 0) > DEFAULT_LORA_RANK:
            arguments["max_lora_rank"] = engine_rank(places.lora_rank or 0)
    tokenizer: dict[str, JsonValue] = {"tokenizer": places.tokenizer} if places.tokenizer else {}
    return {"model": places.model, **tokenizer, **arguments, **(engine.extra_args or {})}


def _speculative_arguments(speculative: SpeculativeConfig, draft: str | None) -> dict[str, JsonValue]:
    arguments = speculative.model_dump(mode="json", by_alias=False, exclude_none=True, exclude={"model"})
    return {**arguments, "model": draft} if draft else arguments
