"""What is known of the GPUs that a spec's node selector names. Pure."""

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

import yaml
from pydantic import TypeAdapter

from triton_vllm_operator.api import names
from triton_vllm_operator.api.spec import LLMDeploymentSpec

# Labels of NVIDIA's GPU feature discovery.
_MAJOR: Final = "nvidia.com/gpu.compute.major"
_MINOR: Final = "nvidia.com/gpu.compute.minor"


@dataclass(frozen=True, slots=True)
class Gpu:
    """A kind of GPU."""

    name: str
    """For messages."""
    capability: int
    """Ten times the compute capability: 75 is 7.5."""

    @property
    def capability_text(self) -> str:
        """As NVIDIA writes it."""
        return f"{self.capability // 10}.{self.capability % 10}"


def find_gpu(spec: LLMDeploymentSpec) -> Gpu | None:
    """The GPUs on which the pods will run; None if the node selector does not say."""
    if spec.gpu_resource is None:
        return None
    selector = (spec.scheduling.node_selector if spec.scheduling else None) or {}
    major, minor = selector.get(_MAJOR, ""), selector.get(_MINOR, "")
    if major.isdigit() and minor.isdigit():
        return Gpu("the GPU of the node selector", int(major) * 10 + int(minor))
    product = selector.get(names.GPU_PRODUCT_LABEL, "")
    known = max((name for name in load_capabilities() if product.startswith(name)), key=len, default=None)
    return Gpu(product, load_capabilities()[known]) if known else None


@cache
def load_capabilities() -> dict[str, int]:
    """Ten times the compute capability, by the beginning of a product's name."""
    text = (resources.files(__package__) / "gpus.yaml").read_text()
    return TypeAdapter(dict[str, int]).validate_python(yaml.safe_load(text))
