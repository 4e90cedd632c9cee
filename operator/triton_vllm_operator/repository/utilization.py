"""The share of each GPU that an engine takes. Pure."""

from triton_vllm_operator.api.spec import LLMDeploymentSpec
from triton_vllm_operator.repository.arguments import load_arguments

_ARGUMENT = "gpu_memory_utilization"


def find_utilization(spec: LLMDeploymentSpec, vllm: str) -> float | None:
    """As the spec says, or by the default of that vLLM; None on a CPU, or where the version is not known."""
    if spec.gpu_resource is None:
        return None
    catalogue = load_arguments(vllm)
    if spec.engine.gpu_memory_utilization is not None or catalogue is None:
        return spec.engine.gpu_memory_utilization
    default = catalogue.arguments[_ARGUMENT].default
    return default if isinstance(default, float) else None
