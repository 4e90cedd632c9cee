"""What a user asks for: the spec of an LLMDeployment."""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import ConfigDict, Field

from triton_vllm_operator.api.base import ApiModel, Quantity, rules
from triton_vllm_operator.api.scheduling import Resources, Scheduling

ServedName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")]
DEFAULT_GPU_RESOURCE: Final = "nvidia.com/gpu"


class PullPolicy(StrEnum):
    """When the kubelet pulls an image."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class Dtype(StrEnum):
    """The data types that vLLM's `dtype` takes, spelled as vLLM spells them."""

    AUTO = "auto"
    HALF = "half"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT = "float"
    FLOAT32 = "float32"


class ImageSource(ApiModel):
    """Weights that travel as an OCI image, mounted read-only as an image volume (Kubernetes 1.35+)."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("!has(self.path) || !self.path.contains('..')", "path must stay inside the image: it holds '..'")
        )
    )

    reference: str = Field(
        min_length=1, max_length=512, pattern=r"^\S+$", description="Image that holds the weights, as registry/model:1."
    )
    pull_policy: PullPolicy | None = Field(
        None, description="Always, IfNotPresent or Never; unset means the kubelet's own rule."
    )
    path: str | None = Field(
        None,
        min_length=1,
        max_length=256,
        pattern=r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$",
        description="Folder of the weights in the image; unset means its root.",
    )


class Model(ApiModel):
    """Which model is served, and under which name."""

    served_name: ServedName | None = Field(
        None,
        description="Name in /v2/models/NAME; unset means metadata.name. It cannot be changed later.",
    )
    image: ImageSource = Field(description="Weights as an OCI image.")


class Runtime(ApiModel):
    """Which Triton and vLLM serve the model."""

    version: str = Field(
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="An entry of the operator's runtime catalogue, as 26.08.",
    )


class Engine(ApiModel):
    """Arguments of the vLLM engine, named as in vLLM; what is unset keeps that version's own default."""

    gpu_memory_utilization: float | None = Field(
        None, gt=0, le=1, description="Fraction of each GPU's memory that the engine may use, weights included."
    )
    max_model_len: int | None = Field(
        None, ge=1, le=100_000_000, description="Longest sequence in tokens, prompt and answer together."
    )
    max_num_seqs: int | None = Field(
        None, ge=1, le=1_000_000, description="Most sequences that one step of the engine computes."
    )
    max_num_batched_tokens: int | None = Field(
        None, ge=1, le=100_000_000, description="Most tokens that one step of the engine computes."
    )
    tensor_parallel_size: int | None = Field(
        None, ge=1, le=16, description="Number of GPUs of one pod over which each layer is split."
    )
    dtype: Dtype | None = Field(None, description="Data type of weights and activations.")
    enforce_eager: bool | None = Field(
        None, description="True starts faster and runs slower: no compilation, no CUDA graphs."
    )
    enable_prefix_caching: bool | None = Field(
        None, description="Whether prompts that begin alike share their KV cache."
    )


class NvidiaGPU(ApiModel):
    """NVIDIA GPUs, one per rank of engine.tensorParallelSize."""

    resource_name: str | None = Field(
        None,
        min_length=1,
        max_length=253,
        pattern=r"^nvidia\.com/[A-Za-z0-9._-]+$",
        description="Extended resource that is asked for: nvidia.com/gpu (the default) or a MIG profile.",
    )


class Cpu(ApiModel):
    """No accelerator: the engine computes on CPU cores."""

    kv_cache_size: str = Field(
        "1Gi", max_length=16, pattern=r"^[1-9][0-9]*Gi$", description="Memory for the KV cache, in whole Gi."
    )


class Accelerator(ApiModel):
    """What the engine computes on; unset means nvidiaGPU."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("has(self.nvidiaGPU) != has(self.cpu)", "set exactly one of accelerator.nvidiaGPU and accelerator.cpu")
        )
    )

    nvidia_gpu: NvidiaGPU | None = Field(None, alias="nvidiaGPU", description="NVIDIA GPUs.")
    cpu: Cpu | None = Field(None, description="CPU cores only.")


class Probe(ApiModel):
    """How the operator proves that a pod generates."""

    prompt: str = Field("Hello", min_length=1, max_length=4096, description="Text that the probe sends.")
    max_tokens: int = Field(4, ge=1, le=256, description="Tokens that the probe asks for.")
    period_seconds: int = Field(10, ge=1, le=3600, description="Seconds between two probes of one pod.")
    timeout_seconds: int = Field(
        30,
        ge=1,
        le=600,
        description="Seconds without a token, of the probe or of any other request, after which a probe has failed.",
    )
    failure_threshold: int = Field(
        3, ge=1, le=100, description="Failed probes in a row after which a pod leaves the Service."
    )
    startup_deadline_seconds: int = Field(
        1800, ge=10, le=86_400, description="Seconds that a pod may take until it first generates."
    )


class LLMDeploymentSpec(ApiModel):
    """What a user asks for."""

    model: Model = Field(description="Which model is served, and under which name.")
    runtime: Runtime = Field(description="Which Triton and vLLM serve it.")
    engine: Engine = Field(Engine(), description="Arguments of the vLLM engine.")
    accelerator: Accelerator | None = Field(None, description="What the engine computes on; unset: NVIDIA GPUs.")
    replicas: int = Field(1, ge=0, le=1000, description="Number of serving pods.")
    resources: Resources | None = Field(None, description="CPU and memory of one serving pod.")
    shared_memory_size: Quantity | None = Field(
        None, description="Size of /dev/shm; unset: 1Gi for one GPU, 2Gi for each of several."
    )
    scheduling: Scheduling | None = Field(None, description="Where the serving pods may run.")
    probe: Probe = Field(Probe(), description="How the operator proves that a pod generates.")

    @property
    def tensor_parallel_size(self) -> int:
        """The number of ranks that the engine starts."""
        return self.engine.tensor_parallel_size or 1

    @property
    def gpu_resource(self) -> str | None:
        """The extended resource that each rank needs; None on a CPU."""
        if self.accelerator is None:
            return DEFAULT_GPU_RESOURCE
        if self.accelerator.nvidia_gpu is None:
            return None
        return self.accelerator.nvidia_gpu.resource_name or DEFAULT_GPU_RESOURCE


NOT_ROLLING: Final = frozenset({"replicas", "probe"})
"""Fields whose change restarts nothing: they are read from the live spec. Every other field rolls."""


def rolling_part(spec: LLMDeploymentSpec) -> LLMDeploymentSpec:
    """The spec with everything that restarts nothing set back to its default."""
    return spec.model_copy(update={name: LLMDeploymentSpec.model_fields[name].default for name in NOT_ROLLING})
