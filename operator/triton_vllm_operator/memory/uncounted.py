"""What of a spec takes or spares memory that no plan counts: it is said, and the engine decides. Pure."""

from collections.abc import Mapping
from typing import Final

from triton_vllm_operator.api.spec import LLMDeploymentSpec
from triton_vllm_operator.memory.methods import find_method
from triton_vllm_operator.memory.reading import ONLINE, STAGING
from triton_vllm_operator.memory.seeing import COUNTED, find_uncounted_seeing
from triton_vllm_operator.memory.settings import Drafter
from triton_vllm_operator.sources.shape import Attention, ModelShape

_GUESSING: Final = "spec.engine.speculativeConfig"
_LOADERS: Final = (None, "auto", "hf", "safetensors", STAGING, "runai_streamer", "mistral", "pt")
"""Formats of `load_format` that hold the weights as their files say."""


def _find_drafter(spec: LLMDeploymentSpec, shape: ModelShape) -> str:
    given = spec.engine.speculative_config
    method = find_method(given, shape.draft)
    if given is None or method is None or method.drafter is Drafter.NONE:
        return ""
    if method.drafter is None:
        return f"{_GUESSING}.method {method.name}"
    if method.drafter is Drafter.OWN and given.model is not None:
        return f"{_GUESSING}.model with the method {method.name}"
    if shape.draft is None:
        return f"{_GUESSING}: {shape.draftless or 'what guesses tokens'}"
    return ", ".join(shape.draft.strange)


def _find_old_report(shape: ModelShape, guesses: bool) -> str:
    """What a report of an older version of the operator does not tell, where a plan needs it."""
    is_old = any(kind.attention is Attention.LATENT and not kind.expanded for kind in shape.kinds)
    is_old = is_old or (guesses and shape.state is not None and shape.edition < 1)
    return "what an older version of the operator did not report of the model" if is_old else ""


def find_unseen(shape: ModelShape) -> str:
    """What of a model that sees or hears is not known; empty if nothing is."""
    if not shape.sees or shape.vision is not None:
        return ""
    return shape.unseen or "what an older version of the operator did not report of the model"


def _find_argument(extra: Mapping[str, object]) -> str | None:
    return next((name for name in extra if name.startswith(_UNCOUNTED) and name not in COUNTED), None)


def find_uncounted(spec: LLMDeploymentSpec, shape: ModelShape) -> str:
    """What of a spec takes or spares memory that no plan counts; empty if there is nothing."""
    engine, extra = spec.engine, spec.engine.extra_args or {}
    if unseen := find_unseen(shape):
        return unseen
    if uncounted := _find_drafter(spec, shape) or _find_old_report(shape, engine.speculative_config is not None):
        return uncounted
    if spec.model.adapters and shape.experts is not None and not shape.experts.count:
        return "spec.model.loraAdapters: adapters of experts"
    if (loader := extra.get("load_format")) not in _LOADERS:
        return f"spec.engine.extraArgs.load_format {loader}"
    if loader == STAGING and not shape.largest_file:
        return "spec.engine.extraArgs.load_format fastsafetensors: what it stages"
    if named := find_uncounted_seeing(extra) or _find_argument(extra):
        return f"spec.engine.extraArgs.{named}"
    cache = engine.kv_cache_dtype
    if cache is not None and not cache.startswith(_COUNTED_CACHES):
        return f"spec.engine.kvCacheDtype {cache}"
    method = (engine.quantization or "").lower()
    if method and method not in ONLINE and not shape.is_quantised:
        return f"spec.engine.quantization {method}"
    return ""


_UNCOUNTED: Final = (
    *("cpu_offload", "offload", "kv_offloading", "num_gpu_blocks_override", "data_parallel", "enable_expert_parallel"),
    *(
        "mamba_",
        "language_model_only",
        "mm_",
        "compilation_config",
        "enable_sleep_mode",
        "block_size",
    ),
    *("decode_context_parallel", "prefill_context_parallel", "enable_dbo", "quantization_config", "kv_transfer"),
    *(
        "disable_hybrid_kv_cache_manager",
        "kv_sharing",
        "hf_overrides",
        "cudagraph",
        "fully_sharded_loras",
        "lora_target_modules",
        "enable_mixed_moe_lora_format",
        "enable_moe_shared_loras",
        "attention_config",
    ),
)
"""How the names of arguments begin that change what memory is taken, and that no plan reads."""
_COUNTED_CACHES: Final = ("auto", "fp8", "int8", "bfloat16", "float16")
