"""GPUs by product: products.yaml, typed."""

from functools import cache
from importlib import resources

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter

from triton_vllm_operator.memory.settings import Gpu


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
    by_label = [each for each in load_products() if f"{wanted}-".startswith(f"{each.product.lower()}-")]
    found = by_name or max(by_label, key=lambda each: len(each.product), default=None)
    return Gpu(found.product if by_name else name, found.bytes) if found else None


@cache
def load_products() -> tuple[Product, ...]:
    """The products that the package knows, in the order of the file."""
    text = (resources.files(__package__) / "products.yaml").read_text()
    return TypeAdapter(tuple[Product, ...]).validate_python(yaml.safe_load(text))
