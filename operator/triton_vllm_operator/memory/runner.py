"""Which of vLLM's two model runners an engine uses. Pure.

https://github.com/vllm-project/vllm/blob/main/vllm/config/vllm.py (use_v2_model_runner)
"""

from collections.abc import Mapping
from typing import Final

from triton_vllm_operator.api.engine import Engine
from triton_vllm_operator.memory.methods import find_method, runs_on_second
from triton_vllm_operator.memory.settings import Runner
from triton_vllm_operator.memory.versions import load_tables, row_of
from triton_vllm_operator.sources.shape import ModelShape

_FORCED: Final = "VLLM_USE_V2_MODEL_RUNNER"
_FIRST_ONLY: Final = ("enable_prompt_embeds", "kv_sharing_fast_prefill", "enable_dbo", "enable_elastic_ep")
"""Arguments with which it does not."""


def choose_runner(shape: ModelShape, engine: Engine, environment: Mapping[str, str], vllm: str) -> Runner:
    """The runner that a version takes for a model with these settings."""
    if (forced := environment.get(_FORCED)) in ("0", "1"):
        return Runner.V2 if forced == "1" else Runner.V1
    row = row_of(load_tables().runner, vllm)
    takes = row.takes(
        shape.architecture, shape.experts is not None, shape.is_quantised or engine.quantization is not None
    )
    method = find_method(engine.speculative_config, shape.draft)
    can_guess = runs_on_second(method, engine.pipeline_parallel_size or 1, vllm)
    return Runner.V2 if takes and can_guess and not _needs_first(engine) else Runner.V1


def _needs_first(engine: Engine) -> bool:
    extra = engine.extra_args or {}
    return any(extra.get(name) is True for name in _FIRST_ONLY)
