"""GPUs by product: products.yaml, typed."""

from functools import cache
from importlib import resources
from typing import Final

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter

from triton_vllm_operator.memory.settings import Gpu

_BESIDE: Final = 2**29
"""Bytes that nvidia-smi counts and CUDA does not give: 0.43 to 0.61 GiB where both were seen."""
_MIB: Final = 2**20


class Product(BaseModel):
    """A kind of GPU."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    product: str
    """How its label nvidia.com/gpu.product begins."""
    bytes: int
    """As CUDA reports them."""
    names: tuple[str, ...] = ()
    """What people call it."""
    source: str


def find_product(name: str) -> Gpu | None:
    """The GPU of that label, or of the name that people use; None if it is not known."""
    wanted = name.lower()
    by_name = next((each for each in load_products() if wanted in map(str.lower, each.names)), None)
    by_label = [each for each in load_products() if wanted.startswith(each.product.lower())]
    found = by_name or max(by_label, key=lambda each: len(each.product), default=None)
    return Gpu(found.product if by_name else name, found.bytes) if found else None


def gpu_of_label(product: str, memory_mib: int) -> Gpu:
    """A GPU by its labels alone: nvidia.com/gpu.memory counts what CUDA does not give as well."""
    return find_product(product) or Gpu(product, memory_mib * _MIB - _BESIDE)


@cache
def load_products() -> tuple[Product, ...]:
    """The products that the package knows, in the order of the file."""
    text = (resources.files(__package__) / "products.yaml").read_text()
    return TypeAdapter(tuple[Product, ...]).validate_python(yaml.safe_load(text))
