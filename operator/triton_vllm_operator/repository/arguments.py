"""The engine arguments of each vLLM version: names, types, defaults, and what became of those that are gone.

The data is made by `make arguments` from the published vLLM wheels, read and not run. What could not be read
off the source is marked, and nothing is ever refused because of it.
"""

import difflib
import operator
from collections.abc import Callable
from enum import StrEnum
from functools import cache, lru_cache
from importlib import resources
from typing import Final

from pydantic import BaseModel, ConfigDict, JsonValue

from triton_vllm_operator.api.vllm_versions import released_version, version_order

_FOLDER: Final = "argument_data"


class JsonType(StrEnum):
    """What kind of JSON value an argument takes."""

    BOOL = "bool"
    INT = "int"
    FLOAT = "float"
    STR = "str"
    LIST = "list"
    OBJECT = "object"
    NULL = "null"


class FrozenModel(BaseModel):
    """Data of this package, as vLLM spells it: no camelCase."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Argument(FrozenModel):
    """One field of AsyncEngineArgs. Without types and choices nothing is known of what it takes."""

    types: tuple[JsonType, ...] = ()
    choices: tuple[str | int | bool, ...] = ()
    """Values that it takes beside those of `types`."""
    any_case: bool = False
    """Whether the choices may be written in small or capital letters."""
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    default: JsonValue = None
    default_known: bool = True
    members: dict[str, "Argument"] | None = None
    """What an object may hold; None if that is not known, or anything."""

    def misfit(self, value: JsonValue) -> str:
        """What is wrong with `value`, as `takes a number of at most 1`; empty if it fits or nothing is known."""
        if not self.types and not self.choices:
            return ""
        if value is None:
            return "" if JsonType.NULL in self.types or self.default is None else f"takes {self._wanted()}, not null"
        if _is_choice(value, self.choices) or (self.any_case and _is_spelled(value, self.choices)):
            return ""
        if not any(_has_type(value, kind) for kind in self.types):
            return f"takes {self._wanted()}"
        if isinstance(value, int | float) and not isinstance(value, bool):
            return self._out_of_bounds(value)
        return ""

    def misfit_of_member(self, value: JsonValue) -> str:
        """What is wrong inside an object, as `has no member level: did you mean mode?`; empty if nothing is known."""
        if self.members is None or not isinstance(value, dict):
            return ""
        for name, inner in value.items():
            if (member := self.members.get(name)) is None:
                near = difflib.get_close_matches(name, self.members, n=1, cutoff=0.6)
                instead = _MEMBER_SUCCESSORS.get(name, near[0] if near else "")
                hint = f"did you mean {instead}?" if instead in self.members else f"it has {', '.join(self.members)}"
                return f"has no member {name}: {hint}"
            if misfit := member.misfit(inner):
                return f"{misfit} as its member {name}"
            if misfit := member.misfit_of_member(inner):
                return f"{misfit}, inside its member {name}"
        return ""

    def _out_of_bounds(self, value: float) -> str:
        bounds: tuple[tuple[float | None, str, Callable[[float, float], bool]], ...] = (
            (self.ge, "at least", operator.ge),
            (self.gt, "more than", operator.gt),
            (self.le, "at most", operator.le),
            (self.lt, "less than", operator.lt),
        )
        crossed = [
            f"{words} {bound:g}" for bound, words, holds in bounds if bound is not None and not holds(value, bound)
        ]
        return f"takes {' and '.join(crossed)}" if crossed else ""

    def _wanted(self) -> str:
        words = [_WORDS[kind] for kind in self.types if kind is not JsonType.NULL]
        if self.choices:
            words.append(f"one of {', '.join(filter(None, map(str, self.choices)))}")
        return " or ".join(words)


_WORDS: Final = {
    JsonType.BOOL: "true or false",
    JsonType.INT: "a whole number",
    JsonType.FLOAT: "a number",
    JsonType.STR: "text",
    JsonType.LIST: "a list",
    JsonType.OBJECT: "an object",
}


# Members that vLLM renamed beyond likeness.
_MEMBER_SUCCESSORS: Final = {"level": "mode", "use_cudagraph": "cudagraph_mode", "full_cuda_graph": "cudagraph_mode"}


def _is_choice(value: JsonValue, choices: tuple[str | int | bool, ...]) -> bool:
    return any(type(value) is type(choice) and value == choice for choice in choices)


def _is_spelled(value: JsonValue, choices: tuple[str | int | bool, ...]) -> bool:
    return isinstance(value, str) and value.lower() in (str(choice).lower() for choice in choices)


def _has_type(value: JsonValue, kind: JsonType) -> bool:
    """Strictly: vLLM reads the text "false" as true, and multiplies the text "1"."""
    match kind:
        case JsonType.BOOL:
            return isinstance(value, bool)
        case JsonType.INT:
            return isinstance(value, int) and not isinstance(value, bool)
        case JsonType.FLOAT:
            return isinstance(value, int | float) and not isinstance(value, bool)
        case JsonType.STR:
            return isinstance(value, str)
        case JsonType.LIST:
            return isinstance(value, list)
        case JsonType.OBJECT:
            return isinstance(value, dict)
    return value is None


class Form(StrEnum):
    """What vLLM makes of the text of a variable; it ends at its start where that fails."""

    FLAG = "flag"
    INT = "int"
    FLOAT = "float"

    def misfit(self, text: str) -> str:
        """What is wrong with a text, as `takes a whole number`; empty if it fits."""
        try:
            float(text) if self is Form.FLOAT else int(text)
        except ValueError:
            return f"takes {_FORM_WORDS[self]}"
        return ""


_FORM_WORDS: Final = {Form.FLAG: "0 or 1", Form.INT: "a whole number", Form.FLOAT: "a number"}


class Variable(FrozenModel):
    """An environment variable that vLLM itself reads."""

    form: Form | None = None
    """None if it is read in another way, or that is not known."""

    choices: tuple[str, ...] = ()
    """The values that it takes; empty if the source lists none."""


class GoneArgument(FrozenModel):
    """An argument that an earlier version had."""

    since: str
    """The first published version without it."""
    instead: str = ""
    """What to write now; empty if there is nothing."""


class WheelIdentity(FrozenModel):
    """The file that the data was read from."""

    name: str
    sha256: str


class EngineArguments(FrozenModel):
    """Everything that AsyncEngineArgs of one vLLM version takes."""

    vllm: str
    wheel: WheelIdentity
    speculative_methods: tuple[str, ...] = ()
    """What `speculative_config.method` may be; empty if that could not be read."""
    arguments: dict[str, Argument]
    gone: dict[str, GoneArgument]
    environment: dict[str, Variable] = {}
    gone_environment: dict[str, GoneArgument] = {}
    later: dict[str, str] = {}
    """Arguments that only later versions have, and the first that does."""
    min_capability: dict[str, int] = {}
    """Ten times the compute capability that a quantization method needs; of those that the source tells."""
    deprecated_quantization: tuple[str, ...] = ()
    """Methods that this version refuses until `allow_deprecated_quantization` is set."""

    def unknown(self, name: str) -> str:
        """Why this version does not take `name`, and what to write instead; empty if it does."""
        if name in self.arguments:
            return ""
        if gone := self.gone.get(name):
            hint = f"; {gone.instead}" if gone.instead else ", and nothing takes its place"
            return f"{name} was removed in vLLM {gone.since}{hint}"
        if first := self.later.get(name):
            return f"{name} came with vLLM {first}: choose a spec.runtime with it or a newer one, or leave it out"
        near = self.nearest(name)
        hint = f": did you mean {near}?" if near else ""
        return f"vLLM {self.vllm} has no argument {name}{hint}"

    def nearest(self, name: str) -> str | None:
        """The argument that is spelled most like a name that no version had; None if none is."""
        if name in self.gone or name in self.later:
            return None
        return _find_nearest(name, tuple(self.arguments))


@lru_cache(maxsize=1024)
def _find_nearest(name: str, known: tuple[str, ...]) -> str | None:
    """A spec that is refused is read at each look."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return near[0] if near else None


@cache
def load_arguments(vllm: str) -> EngineArguments | None:
    """The arguments of that vLLM version, or of the release that it is a build of; None if it is not catalogued."""
    file = resources.files(__package__) / _FOLDER / f"vllm-{released_version(vllm)}.json"
    return EngineArguments.model_validate_json(file.read_text()) if file.is_file() else None


def nearest_version(vllm: str) -> str:
    """The catalogued version most like one: the newest that is not newer, or the oldest; the newest for an odd one."""
    known, order = catalogued_versions(), version_order(vllm)
    return [each for each in known if not order or version_order(each) <= order or each == known[0]][-1]


@cache
def catalogued_versions() -> tuple[str, ...]:
    """The vLLM versions whose arguments are known, oldest first."""
    files = (resources.files(__package__) / _FOLDER).iterdir()
    versions = (file.name.removeprefix("vllm-").removesuffix(".json") for file in files if file.name.endswith(".json"))
    return tuple(sorted(versions, key=version_order))
