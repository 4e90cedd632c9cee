"""Reading what the API server answers. Pure."""

import json
from collections.abc import Mapping

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.kube.errors import ApiError, Unavailable, error_for


def parse_answer(what: str, text: bytes) -> Json:
    """The object of an answer.

    Raises:
        Unavailable: it is none: something before the API server answered in its place.
    """
    try:
        parsed: Json = json.loads(text)
    except ValueError as error:
        raise Unavailable(0, what, f"the answer is no JSON ({error})") from error
    return parsed


def as_error(status: int, what: str, text: bytes, headers: Mapping[str, str]) -> ApiError:
    """The error that an answer stands for, with the server's own word on when to come back."""
    try:
        message = str(json.loads(text).get("message"))
    except (ValueError, AttributeError):
        message = text[:200].decode("utf-8", "replace")
    error = error_for(status, what, message)
    wait = headers.get("Retry-After", "")
    if isinstance(error, Unavailable) and wait.isdigit():
        error.retry_after = float(wait)
    return error
