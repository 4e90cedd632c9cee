"""The settings of a plan, from the fields of an LLMDeployment. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from triton_vllm_operator.api import names
from triton_vllm_operator.api.engine import AUTO, Dtype, Engine, SpeculativeConfig
from triton_vllm_operator.api.lora import DEFAULT_LORA_RANK
from triton_vllm_operator.api.quantity import parse_quantity
from triton_vllm_operator.api.spec import Cpu, LLMDeploymentSpec
from triton_vllm_operator.memory.advice import Case, with_longest_that_fits
from triton_vllm_operator.memory.cpu import CpuCase, with_longest_sequence
from triton_vllm_operator.memory.learned import Learned
from triton_vllm_operator.memory.methods import find_method
from triton_vllm_operator.memory.runner import choose_runner
from triton_vllm_operator.memory.seeing import read_seeing
from triton_vllm_operator.memory.settings import BLOCK, DEFAULT_UTILIZATION, Drafter, EngineSettings, Gpu, Runner
from triton_vllm_operator.memory.versions import load_tables, row_of
from triton_vllm_operator.repository.arguments import load_arguments, nearest_version
from triton_vllm_operator.sources.report import SourceReport, find_source
from triton_vllm_operator.sources.shape import ModelShape

_WIDE: Final = 4
_HALF: Final = 2
ONLINE: Final = frozenset({"fp8", "fp8_per_tensor", "fp8_per_block", "fp8_per_channel", "experts_int8", "mxfp8"})
"""Methods by which the engine quantises weights when it loads them."""
STAGING: Final = "fastsafetensors"
"""The `load_format` that lays whole files on the GPU."""
_QUEUE: Final = "VLLM_FASTSAFETENSORS_QUEUE_SIZE"
_EIGHT_BITS: Final = ("fp8", "int8")


def find_shape(sources: Iterable[SourceReport]) -> ModelShape | None:
    """The shape of the model, with the draft model that guesses for it."""
    found = tuple(sources)
    model, draft = find_source(found, names.MODEL_VOLUME), find_source(found, names.DRAFT_VOLUME)
    shape = model.facts.shape if model is not None and model.facts is not None else None
    if shape is None or draft is None:
        return shape
    return shape.model_copy(update={"draft": draft.facts.draft if draft.facts is not None else None})


def read_settings(
    engine: Engine,
    vllm: str,
    shape: ModelShape,
    environment: Mapping[str, str] = MappingProxyType({}),
    adapters: int = 0,
) -> EngineSettings:
    """What the engine's fields, and the version's defaults where they are unset, say."""
    extra = engine.extra_args or {}
    block, length = extra.get("block_size"), engine.max_model_len
    fixed = engine.kv_cache_memory_bytes
    cache_dtype = engine.kv_cache_dtype or "auto"
    method = find_method(engine.speculative_config, shape.draft)
    dtype_bytes = _WIDE if engine.dtype is Dtype.FLOAT32 else _HALF
    return EngineSettings(
        vllm=vllm,
        utilization=engine.gpu_memory_utilization or _default_utilization(vllm),
        max_model_len=length if isinstance(length, int) else None,
        tensor_ranks=engine.tensor_parallel_size or 1,
        pipeline_ranks=engine.pipeline_parallel_size or 1,
        dtype_bytes=dtype_bytes,
        cache_bytes=1 if cache_dtype.startswith(_EIGHT_BITS) else dtype_bytes,
        sequences=engine.max_num_seqs,
        batched_tokens=engine.max_num_batched_tokens,
        block_tokens=block if isinstance(block, int) and not isinstance(block, bool) else BLOCK,
        runner=choose_runner(shape, engine, environment, vllm),
        is_eager=bool(engine.enforce_eager),
        adapters=adapters,
        adapter_rank=(engine.max_lora_rank or DEFAULT_LORA_RANK) if adapters else 0,
        caches_prefixes=engine.enable_prefix_caching,
        quantises=not shape.is_quantised and (engine.quantization or "").lower() in ONLINE,
        drafter=(method.drafter if method is not None else None) or Drafter.NONE,
        guesses=_count_guesses(engine.speculative_config, shape),
        staged_files=_count_staged(extra.get("load_format"), environment, vllm),
        fixed_cache=int(parse_quantity(fixed)) if fixed is not None else None,
        seeing=read_seeing(extra),
    )


def settings_of_spec(spec: LLMDeploymentSpec, vllm: str, shape: ModelShape) -> EngineSettings:
    """The settings of the engine that a spec asks for."""
    environment = {variable.name: variable.value for variable in spec.env or ()}
    return read_settings(spec.engine, vllm, shape, environment, len(spec.model.adapters))


def settings_on_cpu(spec: LLMDeploymentSpec, cpu: Cpu, vllm: str, shape: ModelShape) -> EngineSettings:
    """The settings of an engine on a CPU."""
    settings, row = settings_of_spec(spec, vllm, shape), row_of(load_tables().cpu, vllm)
    return replace(
        settings,
        # The second runner needs Triton's compiler, which is for GPUs.
        runner=Runner.V1,
        block_tokens=row.block,
        batched_tokens=settings.batched_tokens or row.tokens,
        sequences=settings.sequences or row.sequences,
        fixed_cache=int(parse_quantity(cpu.kv_cache_size)),
    )


def read_case(
    spec: LLMDeploymentSpec, vllm: str, shape: ModelShape, gpu: Gpu, longest: int, learned: Learned | None = None
) -> Case:
    """The start on GPUs of one kind that a spec asks for; `longest` holds where it names no length."""
    settings = settings_of_spec(spec, vllm, shape)
    correction = learned.correct(shape, settings, gpu.product) if learned is not None else 0
    case = Case(shape, settings, gpu, settings.max_model_len or longest, correction=correction)
    return with_longest_that_fits(case) if spec.engine.max_model_len == AUTO else case


def read_cpu_case(spec: LLMDeploymentSpec, cpu: Cpu, vllm: str, shape: ModelShape, longest: int) -> CpuCase:
    """The start on a CPU that a spec asks for; `longest` holds where it names no length."""
    settings = settings_on_cpu(spec, cpu, vllm, shape)
    case = CpuCase(shape, settings, spec.memory_limit, settings.max_model_len or longest)
    return with_longest_sequence(case) if spec.engine.max_model_len == AUTO else case


def _count_staged(load_format: object, environment: Mapping[str, str], vllm: str) -> int:
    """https://github.com/vllm-project/vllm/blob/main/vllm/envs.py (VLLM_FASTSAFETENSORS_QUEUE_SIZE)."""
    if load_format != STAGING:
        return 0
    queue = environment.get(_QUEUE, "0") if row_of(load_tables().loading, vllm).queues_files else "0"
    return 1 + (int(queue) if queue.isdecimal() else 0)


def _count_guesses(given: SpeculativeConfig | None, shape: ModelShape) -> int:
    if given is None:
        return 0
    return given.num_speculative_tokens or max(1, len(shape.draft.layers) if shape.draft else 0)


def _default_utilization(vllm: str) -> float:
    catalogue = load_arguments(nearest_version(vllm))
    found = catalogue.arguments["gpu_memory_utilization"].default if catalogue else None
    return float(found) if isinstance(found, int | float) else DEFAULT_UTILIZATION
