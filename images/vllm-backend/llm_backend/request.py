"""Reading a Triton request."""

import json
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from llm_backend.contract import LORA_NAME, GenerateRequest, RequestError, Wanted, resolve_prepend


def read_request(request: Any) -> GenerateRequest:
    """The typed form of a request.

    Raises:
        RequestError: a tensor or parameter cannot be read; the text names it.
    """
    prompt = _text(request, "text_input")
    if prompt is None:
        raise RequestError("text_input is missing.")
    if _text(request, "embedding_request") is not None:
        raise RequestError("embedding_request is not served: this model generates text.")
    stream = bool(_flag(request, "stream"))
    sampling = _sampling(request)
    return GenerateRequest(
        prompt=prompt,
        stream=stream,
        prepend_prompt=resolve_prepend(stream, _flag(request, "exclude_input_in_output")),
        wanted=Wanted(**{name: bool(_flag(request, f"return_{name}")) for name in Wanted.__slots__}),
        adapter=sampling.pop(LORA_NAME, None),
        sampling=sampling,
        images=_images(request),
    )


def _images(request: Any) -> tuple[bytes, ...]:
    tensor = pb_utils.get_input_tensor_by_name(request, "image")
    return () if tensor is None else tuple(bytes(image) for image in np.ravel(tensor.as_numpy()))


def _sampling(request: Any) -> dict[str, object]:
    """sampling_parameters replaces `parameters`; the two are never merged."""
    text = _text(request, "sampling_parameters")
    source = "sampling_parameters" if text is not None else "parameters"
    try:
        parsed = json.loads(text if text is not None else request.parameters() or "{}")
    # Beside bad JSON: numbers of thousands of digits, and what is nested too deep.
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{source} is no JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise RequestError(f"{source} must be a JSON object, found {type(parsed).__name__}.")
    return parsed


def _element(request: Any, name: str) -> Any:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    if tensor is None:
        return None
    values = np.ravel(tensor.as_numpy())
    if values.size != 1:
        raise RequestError(f"{name} takes one element, found {values.size}.")
    return values[0]


def _text(request: Any, name: str) -> str | None:
    element = _element(request, name)
    if element is None:
        return None
    try:
        return element.decode("utf-8") if isinstance(element, bytes) else str(element)
    except UnicodeDecodeError as error:
        raise RequestError(f"{name} is no UTF-8 text: {error}") from error


def _flag(request: Any, name: str) -> bool | None:
    element = _element(request, name)
    return None if element is None else bool(element)
