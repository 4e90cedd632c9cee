"""In which form an engine holds a tensor, and how much of it. Pure.

Read off the quantisation methods in vllm/model_executor/layers/quantization.
"""

import math
from typing import Final

from triton_vllm_operator.sources.safetensors import Tensor
from triton_vllm_operator.sources.shape import Allocation, Form

_WIDE_STATES: Final = ("A_log", "A")
"""Parameters of states that are held in 4 bytes, and counted as two."""
OF_STATES: Final = (*_WIDE_STATES, "D", "dt_bias")
"""Parameters of states."""
FLOATS: Final = frozenset({"F64", "F32", "F16", "BF16"})
"""Types that an engine turns into its own."""
_BYTES: Final = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}
_BLOCKS: Final = ("blocks", "scales")
_BLOCK_STEP: Final = 256
"""To which the inner size of experts in mxfp4 is padded, on one rank."""
_PLAIN: Final = ("weight", "bias")
_KEY_VALUE: Final = "kv_b"
_PACKED_TIMES: Final = {"weight": 1, "qweight": 2, "weight_packed": 2}
"""Weights in a byte, by the tensor that holds them."""


def find_form(tensor: Tensor, part: str, is_linear: bool) -> Form:
    """In which form the engine holds the `part` of a module, as `weight`."""
    if part in OF_STATES:
        return Form.FLOAT
    # Scales are held as they are stored.
    if tensor.dtype not in FLOATS or part not in _PLAIN:
        return Form.BYTES
    return Form.LINEAR if is_linear and len(tensor.shape) > 1 else Form.FLOAT


def is_copied(key: str, part: str) -> bool:
    """MLA multiplies with the weights of keys and values as they are: what is quantised is held a second time without.

    https://github.com/vllm-project/vllm/blob/main/vllm/model_executor/layers/attention/mla_attention.py
    (process_weights_after_loading: of what is not quantised it takes views)
    """
    return key.rpartition(".")[2] == _KEY_VALUE and part in _PACKED_TIMES


def copy_of(row: Allocation, part: str) -> Allocation:
    """That second copy."""
    if row.form is not Form.BYTES:
        return row._replace(form=Form.COPY)
    times = _PACKED_TIMES[part]
    return Allocation(Form.FLOAT, row.divided * times, row.by_heads * times, row.whole * times, row.times)


def _is_mxfp4(tensor: Tensor, key: str, part: str) -> bool:
    """Whether it holds all experts of a layer in blocks; scales of AWQ and GPTQ have two dimensions."""
    return part in _BLOCKS and key.startswith("experts.") and len(tensor.shape) > 2 and min(tensor.shape) > 0


def _padded_blocks(tensor: Tensor, key: str) -> int:
    """https://github.com/vllm-project/vllm/blob/main/vllm/model_executor/layers/quantization/mxfp4.py (on Hopper)."""
    _, outputs, groups, *_ = tensor.shape
    inner = outputs // 2 if key.endswith("gate_up") else groups * 32
    return find_size(tensor, Form.BYTES) * (-(-inner // _BLOCK_STEP) * _BLOCK_STEP) // inner


def find_held(tensor: Tensor, key: str, form: Form, part: str) -> int:
    """What the engine holds of it, in elements or bytes."""
    if part in _WIDE_STATES:
        return 2 * math.prod(tensor.shape)
    return _padded_blocks(tensor, key) if _is_mxfp4(tensor, key, part) else find_size(tensor, form)


def find_size(tensor: Tensor, form: Form) -> int:
    """What is stored of it, in elements or bytes."""
    elements = math.prod(tensor.shape)
    return elements * _BYTES.get(tensor.dtype, 1) if form is Form.BYTES else elements
