"""Inputs, outputs and defaults that clients of NVIDIA's vLLM backend rely on."""

from dataclasses import dataclass
from typing import Final

LORA_NAME: Final = "lora_name"
"""Stands among the sampling parameters, and is none."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor as Triton's auto-completed configuration declares it."""

    name: str
    data_type: str
    dims: tuple[int, ...]
    optional: bool = False

    @property
    def entry(self) -> dict[str, object]:
        """Its entry in the configuration."""
        entry: dict[str, object] = {"name": self.name, "data_type": self.data_type, "dims": list(self.dims)}
        return {**entry, "optional": True} if self.optional else entry


INPUTS: Final = (
    Tensor("text_input", "TYPE_STRING", (1,)),
    Tensor("image", "TYPE_STRING", (-1,), optional=True),
    Tensor("stream", "TYPE_BOOL", (1,), optional=True),
    Tensor("sampling_parameters", "TYPE_STRING", (1,), optional=True),
    Tensor("exclude_input_in_output", "TYPE_BOOL", (1,), optional=True),
    Tensor("return_finish_reason", "TYPE_BOOL", (1,), optional=True),
    Tensor("return_cumulative_logprob", "TYPE_BOOL", (1,), optional=True),
    Tensor("return_logprobs", "TYPE_BOOL", (1,), optional=True),
    Tensor("return_num_input_tokens", "TYPE_BOOL", (1,), optional=True),
    Tensor("return_num_output_tokens", "TYPE_BOOL", (1,), optional=True),
    # For Triton's OpenAI frontend alone; declared since clients compare the list of inputs.
    Tensor("embedding_request", "TYPE_STRING", (1,), optional=True),
)

OUTPUTS: Final = (
    Tensor("text_output", "TYPE_STRING", (-1,)),
    Tensor("finish_reason", "TYPE_STRING", (-1,)),
    Tensor("cumulative_logprob", "TYPE_FP32", (-1,)),
    Tensor("logprobs", "TYPE_STRING", (-1,)),
    Tensor("num_input_tokens", "TYPE_UINT32", (1,)),
    Tensor("num_output_tokens", "TYPE_UINT32", (-1,)),
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which outputs a request asks for beside the text."""

    finish_reason: bool = False
    cumulative_logprob: bool = False
    logprobs: bool = False
    num_input_tokens: bool = False
    num_output_tokens: bool = False


class RequestError(Exception):
    """A request that cannot be served; the text goes to the client."""


class AdapterError(RequestError):
    """A request for a LoRA adapter that is not there."""


def describe(error: Exception) -> str:
    """What the client is told. Of adapters NVIDIA's own words and nothing more: its tests compare the whole text."""
    return str(error) if isinstance(error, AdapterError) else f"Error generating stream: {error}"


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One request, read from its tensors."""

    prompt: str
    stream: bool
    prepend_prompt: bool
    wanted: Wanted
    sampling: dict[str, object]
    images: tuple[bytes, ...] = ()
    """Base64 of pictures, for models that see."""
    adapter: object = None
    """Name of a LoRA adapter."""


def resolve_prepend(stream: bool, exclude_input: bool | None) -> bool:
    """Whether the answer repeats the prompt: whole answers do unless told not to, streams never do.

    Raises:
        RequestError: a stream was asked to repeat the prompt.
    """
    if stream and exclude_input is False:
        # Word for word NVIDIA's: clients and its own tests compare it.
        raise RequestError("When streaming, `exclude_input_in_output` = False is not allowed.")
    return not (stream or exclude_input)
