"""The headers of safetensors files: names, types and shapes of all tensors, without their bytes. Pure."""

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from triton_vllm_operator.sources.fault import not_servable
from triton_vllm_operator.sources.files import LFS_POINTER, say_pointer

_HEADER_LIMIT: Final = 100_000_000
"""Bytes; safetensors' own limit of a header."""
_METADATA: Final = "__metadata__"


@dataclass(frozen=True, slots=True, order=True)
class Tensor:
    """One tensor, as the header describes it."""

    dtype: str
    """As F16, BF16, I32."""
    shape: tuple[int, ...]


Tensors = Mapping[str, Tensor]


def check_content(name: str, size: int, read_start: Callable[[int], bytes]) -> None:
    """That a file of weights of any format is the file itself. `read_start` gives its first bytes.

    Raises:
        SourceFault: it is empty, or only says where the file is.
    """
    if size == 0:
        raise not_servable(f"{name} is empty")
    if read_start(len(LFS_POINTER)) == LFS_POINTER:
        raise not_servable(say_pointer(name))


def read_tensors(name: str, size: int, read_start: Callable[[int], bytes]) -> Tensors:
    """The tensors of a file that is as long as its own header says. `read_start` gives its first bytes.

    Raises:
        SourceFault: it was cut off, or is no safetensors file.
    """
    tensors, told = read_header(name, size, read_start)
    if size != told:
        raise not_servable(f"{name} has {size} bytes where its header says {told}: it was cut off")
    return tensors


def read_header(name: str, size: int, read_start: Callable[[int], bytes]) -> tuple[Tensors, int]:
    """The tensors that a file begins with telling, and the bytes that it would have with all of them.

    Raises:
        SourceFault: it is no safetensors file.
    """
    check_content(name, size, read_start)
    start = read_start(8)
    (length,) = struct.unpack("<Q", start.ljust(8, b"\0"))
    if size < 8 or not 2 <= length <= min(_HEADER_LIMIT, size):
        raise not_servable(f"{name} is no safetensors file")
    try:
        header = json.loads(read_start(8 + length)[8:])
        described = {key: tensor for key, tensor in header.items() if key != _METADATA}
        end = max((int(tensor["data_offsets"][1]) for tensor in described.values()), default=0)
        tensors = {key: Tensor(str(t["dtype"]), tuple(map(int, t["shape"]))) for key, t in described.items()}
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError) as error:
        raise not_servable(f"{name} is no safetensors file: its header cannot be read") from error
    return tensors, 8 + length + end
