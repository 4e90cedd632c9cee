"""From the parameters of a request to vLLM's SamplingParams."""

import functools
import json
import math
import types
import typing

import msgspec
from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams
from vllm.v1.serial_utils import MsgpackDecoder, MsgpackEncoder

from llm_backend.contract import RequestError

# What vLLM would compute for nobody.
_WITHOUT_OUTPUT = {
    "prompt_logprobs": "Triton's vLLM backend has no output for them; ask for logprobs and return_logprobs",
}


def build_sampling_params(given: dict[str, object], stream: bool) -> SamplingParams:
    """SamplingParams from the request alone; what is not given keeps vLLM's default.

    A stream gets cumulative outputs, of which some may be left out; a whole answer comes once, with all of
    its `n` completions.

    Raises:
        RequestError: an unknown name or a value that vLLM refuses.
    """
    hints = _hints()
    if refused := next((name for name in given if name in _WITHOUT_OUTPUT and given[name] is not None), None):
        raise RequestError(f"{refused}: {_WITHOUT_OUTPUT[refused]}")
    unknown = sorted(name for name in given if name.startswith("_") or name not in hints)
    if unknown:
        raise RequestError(f"Unexpected keyword argument {', '.join(map(repr, unknown))}: no sampling parameter.")
    try:
        values = {name: _coerce(value, _members(hints[name])) for name, value in given.items()}
        if isinstance(bias := values.get("logit_bias"), dict):
            values["logit_bias"] = _by_token(bias)
        if isinstance(structured := values.get("structured_outputs"), dict):
            values["structured_outputs"] = StructuredOutputsParams(**structured)
        values["output_kind"] = RequestOutputKind.CUMULATIVE if stream else RequestOutputKind.FINAL_ONLY
        params = SamplingParams(**values)
        _send_to_nobody(params)
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise RequestError(str(error)) from error
    return params


def _by_token(bias: dict[object, object]) -> dict[int, object]:
    """JSON's keys are texts, and vLLM's are token ids."""
    try:
        return {int(str(token)): value for token, value in bias.items()}
    except ValueError as error:
        raise RequestError(f"logit_bias takes token ids as its keys: {error}") from error


def _send_to_nobody(params: SamplingParams) -> None:
    """Take the way to the engine's process and back.

    The process that gets a request of a wrong type loses the thread that reads requests: it lives on, looks healthy
    and never answers anybody again, since types are checked there and nowhere before.
    https://github.com/vllm-project/vllm/issues/16643
    """
    encoder, decoder = _codec()
    decoder.decode(encoder.encode(params))


@functools.cache
def _codec() -> tuple[MsgpackEncoder, MsgpackDecoder]:
    return MsgpackEncoder(), MsgpackDecoder(SamplingParams)


@functools.cache
def _hints() -> dict[str, object]:
    """The types of all sampling parameters; to resolve them takes a millisecond."""
    return typing.get_type_hints(SamplingParams)


def _coerce(value: object, types_: tuple[object, ...]) -> object:
    """`parameters` carries only text, numbers and booleans: "0" may stand for 0, JSON text for an object."""
    if isinstance(value, str):
        return value if str in types_ else _cast(_parse(value), types_)
    return _cast(value, types_)


def _parse(value: str) -> object:
    text = value.lower() if value in ("True", "False") else value
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{value!r} is neither a number, a boolean nor JSON.") from error


def _cast(value: object, types_: tuple[object, ...]) -> object:
    """One kind of number for another, as in NVIDIA's backend: 1.5 for a whole number is 1, 1 for a boolean is true."""
    if not isinstance(value, bool | int | float):
        return value
    if float in types_:
        return float(value)
    if int in types_:
        if not math.isfinite(value):
            raise RequestError(f"{value!r} is no whole number.")
        return int(value)
    return bool(value) if bool in types_ else value


def _members(hint: object) -> tuple[object, ...]:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType, typing.Annotated):
        return tuple(member for part in typing.get_args(hint) for member in _members(part))
    return (hint,)
