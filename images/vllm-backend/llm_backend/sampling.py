"""From the parameters of a request to vLLM's SamplingParams."""

import functools
import json
import types
import typing

from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

from llm_backend.contract import RequestError


def build_sampling_params(given: dict[str, object], stream: bool) -> SamplingParams:
    """SamplingParams from the request alone; what is not given keeps vLLM's default.

    A stream gets cumulative outputs, of which some may be left out; a whole answer comes once, with all of
    its `n` completions.

    Raises:
        RequestError: an unknown name or a value that vLLM refuses.
    """
    hints = _hints()
    unknown = sorted(name for name in given if name.startswith("_") or name not in hints)
    if unknown:
        raise RequestError(f"Unexpected keyword argument {', '.join(map(repr, unknown))}: no sampling parameter.")
    try:
        values = {name: _coerce(value, hints[name]) for name, value in given.items()}
        if isinstance(structured := values.get("structured_outputs"), dict):
            values["structured_outputs"] = StructuredOutputsParams(**structured)
        values["output_kind"] = RequestOutputKind.CUMULATIVE if stream else RequestOutputKind.FINAL_ONLY
        return SamplingParams(**values)
    except (TypeError, ValueError) as error:
        raise RequestError(str(error)) from error


@functools.cache
def _hints() -> dict[str, object]:
    """The types of all sampling parameters; to resolve them takes a millisecond."""
    return typing.get_type_hints(SamplingParams)


def _coerce(value: object, hint: object) -> object:
    """`parameters` carries only text, numbers and booleans: "0" may stand for 0, JSON text for an object."""
    if not isinstance(value, str) or str in _members(hint):
        return value
    text = value.lower() if value in ("True", "False") else value
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise RequestError(f"{value!r} is neither a number, a boolean nor JSON.") from error


def _members(hint: object) -> tuple[object, ...]:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType, typing.Annotated):
        return tuple(member for part in typing.get_args(hint) for member in _members(part))
    return (hint,)
