"""What a user asks for: the spec of an LLMDeployment."""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from triton_vllm_operator.api.base import LIST_MAP_KEYS, LIST_TYPE, ApiModel, Form, ObjectName, Quantity, rule
from triton_vllm_operator.api.cache import CompileCache
from triton_vllm_operator.api.engine import Engine
from triton_vllm_operator.api.model import LoraAdapter, Model, ModelSource
from triton_vllm_operator.api.pods import EnvVariable, Fetch, PodMetadata, ServiceSettings
from triton_vllm_operator.api.quantity import parse_quantity
from triton_vllm_operator.api.recovery import Recovery
from triton_vllm_operator.api.rollout import Drain, Rollout
from triton_vllm_operator.api.runtime import Runtime
from triton_vllm_operator.api.scheduling import Resources, Scheduling

TOKENIZER_FIELD: Final = "spec.model.tokenizer"
DRAFT_FIELD: Final = "spec.engine.speculativeConfig.model"
DEFAULT_GPU_RESOURCE: Final = "nvidia.com/gpu"
MIG_RESOURCE: Final = "nvidia.com/mig-"
MOST_REPLICAS: Final = 1000


def adapter_field(adapter: LoraAdapter) -> str:
    """The field of an adapter, for messages."""
    return f"spec.model.loraAdapters[{adapter.name}]"


GPUResource = Annotated[
    str,
    Field(min_length=1, max_length=253),
    Form(
        r"^nvidia\.com/[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$",
        "resourceName is what NVIDIA's device plugin offers, as nvidia.com/gpu or nvidia.com/mig-3g.40gb",
    ),
]
CacheSize = Annotated[
    str,
    Field(max_length=16),
    Form("^[1-9][0-9]{0,5}Gi$", "kvCacheSize is in whole Gi, as 4Gi"),
]


class NvidiaGPU(ApiModel):
    """NVIDIA GPUs: engine.tensorParallelSize x engine.pipelineParallelSize of them."""

    resource_name: GPUResource | None = Field(
        None,
        description="Extended resource that is asked for: nvidia.com/gpu (the default) or a MIG profile.",
    )


class Cpu(ApiModel):
    """No accelerator: the engine computes on CPU cores."""

    kv_cache_size: CacheSize = Field("1Gi", description="Memory for the KV cache, in whole Gi.")


class Accelerator(ApiModel):
    """What the engine computes on; unset means nvidiaGPU."""

    nvidia_gpu: NvidiaGPU | None = Field(None, alias="nvidiaGPU", description="NVIDIA GPUs.")
    cpu: Cpu | None = Field(None, description="CPU cores only.")

    @rule("has(self.nvidiaGPU) != has(self.cpu)", "set exactly one of accelerator.nvidiaGPU and accelerator.cpu")
    def _is_one_kind(self) -> bool:
        return (self.nvidia_gpu is None) != (self.cpu is None)


_PERIOD: Final = "Seconds between two probes of a pod; one whose counters show work may go a minute without."


class Probe(ApiModel):
    """How the operator proves that a pod generates."""

    prompt: str = Field("Hello", min_length=1, max_length=4096, description="Text that the probe sends.")
    max_tokens: int = Field(4, ge=1, le=256, description="Tokens that the probe asks for.")
    period_seconds: int = Field(10, ge=1, le=3600, description=_PERIOD)
    timeout_seconds: int = Field(
        30,
        ge=1,
        le=600,
        description="Seconds without a token, of the probe or of any other request, after which a probe has failed.",
    )
    failure_threshold: int = Field(
        3,
        ge=1,
        le=100,
        description="Failed probes in a row after which a pod leaves the Service; a dead engine leaves it at once.",
    )
    startup_deadline_seconds: int = Field(
        1800,
        ge=10,
        le=86_400,
        description="Seconds that a pod may take until it first generates; 1 more for each 100 MB of weights.",
    )


class MemoryPolicy(StrEnum):
    """What is done about a model that certainly does not fit into the memory of its GPUs."""

    ENFORCE = "Enforce"
    WARN = "Warn"
    OFF = "Off"


class Memory(ApiModel):
    """Whether memory is planned before a GPU is asked for."""

    policy: MemoryPolicy = Field(
        MemoryPolicy.ENFORCE,
        description='Enforce makes no pod of a model that certainly does not fit, Warn only says so, "Off" plans not.',
    )


class LLMDeploymentSpec(ApiModel):
    """What a user asks for."""

    model: Model = Field(description="Which model is served, and under which name.")
    runtime: Runtime = Field(description="Which Triton and vLLM serve it.")
    engine: Engine = Field(Engine(), description="Arguments of the vLLM engine.")
    accelerator: Accelerator | None = Field(None, description="What the engine computes on; unset: NVIDIA GPUs.")
    replicas: int = Field(1, ge=0, le=MOST_REPLICAS, description="Number of serving pods.")
    resources: Resources | None = Field(None, description="CPU and memory of one serving pod.")
    shared_memory_size: Quantity | None = Field(
        None, description="Size of /dev/shm; unset: 1Gi for one GPU, 2Gi for each of several."
    )
    env: tuple[EnvVariable, ...] | None = Field(
        None,
        max_length=64,
        description="Environment variables of the serving container, as far as the operator and the administrator let "
        "them pass.",
        json_schema_extra={LIST_TYPE: "map", LIST_MAP_KEYS: ["name"]},
    )
    memory: Memory | None = Field(None, description="What is done about a model that does not fit; unset: Enforce.")
    cache: CompileCache | None = Field(
        None, description="Where what the engine compiles is kept for the next start; unset: in the pod."
    )
    recovery: Recovery | None = Field(
        None,
        description="What is done about a pod that generated and is dead; unset: it is replaced, 4 in an hour at most.",
    )
    rollout: Rollout | None = Field(
        None, description="How pods are replaced when the spec changes; unset: by what is free then."
    )
    drain: Drain | None = Field(None, description="How a pod ends; unset: requests under way have 60 s.")
    scheduling: Scheduling | None = Field(None, description="Where the serving pods may run.")
    service_account_name: ObjectName | None = Field(
        None,
        description="ServiceAccount of all pods, on which a cloud identity may hang, as far as the administrator "
        "allows it. Its token is not mounted.",
    )
    pod_metadata: PodMetadata | None = Field(
        None,
        description="Labels and annotations of all pods; those of the LLMDeployment itself are not passed on to them.",
    )
    service: ServiceSettings | None = Field(None, description="The Service in front of the serving pods.")
    fetch: Fetch | None = Field(None, description="The Job that looks up and fetches the model.")
    probe: Probe = Field(Probe(), description="How the operator proves that a pod generates.")

    @rule(
        "!has(self.accelerator) || !has(self.accelerator.cpu) || (!has(self.engine.gpuMemoryUtilization) && "
        "!has(self.engine.kvCacheMemoryBytes) && !has(self.engine.tensorParallelSize) && "
        "!has(self.engine.pipelineParallelSize))",
        "on a CPU, accelerator.cpu.kvCacheSize sets the memory; engine.gpuMemoryUtilization, kvCacheMemoryBytes, "
        "tensorParallelSize and pipelineParallelSize are for GPUs",
    )
    def _cpu_has_no_gpu_settings(self) -> bool:
        engine = self.engine
        for_gpus = (
            engine.gpu_memory_utilization,
            engine.kv_cache_memory_bytes,
            engine.tensor_parallel_size,
            engine.pipeline_parallel_size,
        )
        return self.gpu_resource is not None or all(setting is None for setting in for_gpus)

    @rule(
        "!has(self.accelerator) || !has(self.accelerator.nvidiaGPU) || "
        "!has(self.accelerator.nvidiaGPU.resourceName) || "
        f"!self.accelerator.nvidiaGPU.resourceName.startsWith('{MIG_RESOURCE}') || "
        "((!has(self.engine.tensorParallelSize) || self.engine.tensorParallelSize == 1) && "
        "(!has(self.engine.pipelineParallelSize) || self.engine.pipelineParallelSize == 1))",
        "slices of a GPU (MIG) cannot compute one model together: "
        "tensorParallelSize and pipelineParallelSize must be 1, or resourceName a whole GPU",
    )
    def _mig_stands_alone(self) -> bool:
        return self.engine.gpus == 1 or not (self.gpu_resource or "").startswith(MIG_RESOURCE)

    @rule(
        "!has(self.engine.maxLoraRank) || has(self.model.loraAdapters)",
        "engine.maxLoraRank is for model.loraAdapters, of which there are none",
    )
    def _rank_has_an_adapter(self) -> bool:
        return self.engine.max_lora_rank is None or self.model.lora_adapters is not None

    @property
    def draft(self) -> ModelSource | None:
        """The draft model of speculative decoding."""
        return self.engine.speculative_config.model if self.engine.speculative_config else None

    @property
    def sources(self) -> tuple[tuple[str, ModelSource], ...]:
        """Everything that is read from a source, with the field that names it: model, tokenizer, draft, adapters."""
        draft, tokenizer = self.draft, self.model.tokenizer
        return (
            ("spec.model", self.model),
            *([(TOKENIZER_FIELD, tokenizer)] if tokenizer else []),
            *([(DRAFT_FIELD, draft)] if draft else []),
            *((adapter_field(adapter), adapter) for adapter in self.model.adapters),
        )

    @property
    def cpu(self) -> Cpu | None:
        """What there is of a CPU; None on GPUs."""
        return self.accelerator.cpu if self.accelerator is not None else None

    @property
    def memory_limit(self) -> int | None:
        """Bytes that the serving container may use; None if the spec does not say."""
        limit = (self.resources.limits or {}).get("memory") if self.resources else None
        return None if limit is None else int(parse_quantity(limit))

    @property
    def ending(self) -> Drain:
        """How a pod ends."""
        return self.drain or Drain()

    @property
    def gpu_resource(self) -> str | None:
        """The extended resource that each rank needs; None on a CPU."""
        if self.accelerator is None:
            return DEFAULT_GPU_RESOURCE
        if self.accelerator.nvidia_gpu is None:
            return None
        return self.accelerator.nvidia_gpu.resource_name or DEFAULT_GPU_RESOURCE
