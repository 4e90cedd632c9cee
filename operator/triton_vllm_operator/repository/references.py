"""What an argument's value names: files, repositories of a hub, addresses. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from triton_vllm_operator.api import names

_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_PATH: Final = re.compile(r"(/|~/|\./|\.\./)")
# Members of a model's configuration under which its code and its parts are looked up, also on a hub.
_LOOKED_UP: Final = frozenset(
    {"_name_or_path", "name_or_path", "pretrained_model_name_or_path", "auto_map"}
    | {"text_model_id", "audio_model_id", "model_id", "repo_id"}
)


@dataclass(frozen=True, slots=True)
class Reference:
    """A text that names something outside the model's folder."""

    member: str
    """Where in the value it stands, as `text_config._name_or_path`; empty if it is the value."""
    text: str
    why: str


def is_below_the_model(text: str) -> bool:
    """Whether a path lies in the model's folder."""
    return text.startswith(f"{names.WEIGHTS}/") and ".." not in text.split("/")


def find_reference(value: JsonValue) -> Reference | None:
    """The first thing outside the model's folder that a value names; None if there is none."""
    return next(_references("", value), None)


def _references(member: str, value: JsonValue) -> Iterator[Reference]:
    if isinstance(value, str):
        if why := _why_not(value):
            yield Reference(member, value, why)
        return
    inner: Iterator[tuple[str | int, JsonValue]]
    inner = iter(value.items()) if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ())
    for key, part in inner:
        path = f"{member}.{key}".removeprefix(".")
        if key in _LOOKED_UP:
            yield Reference(
                path, str(part)[:80], "code and parts of a model are looked up under it, and none is fetched"
            )
        else:
            yield from _references(path, part)


def _why_not(text: str) -> str:
    if _ADDRESS.match(text):
        return "the engine fetches nothing from an address; models, tokenizers and adapters are sources of spec.model"
    if _PATH.match(text) and not is_below_the_model(text):
        return f"it reads no file but those of the model, below {names.WEIGHTS}"
    return ""
