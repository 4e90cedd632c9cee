"""What a change of the spec does to the pods, field by field."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

from pydantic import BaseModel, JsonValue

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.spec import LLMDeploymentSpec

_Model = TypeVar("_Model", bound=BaseModel)


class ChangeClass(StrEnum):
    """What becomes of running pods when a field changes."""

    NONE = "None"
    """Nothing restarts: the operator reads the field from the live spec."""
    ROLLING = "Rolling"
    """Every pod is replaced, since a new engine must start."""
    REFUSED = "Refused"
    """The API server does not take the change."""


_CLASSES: Final = {
    "replicas": ChangeClass.NONE,
    "probe": ChangeClass.NONE,
    "service": ChangeClass.NONE,
    "fetch": ChangeClass.NONE,
    "memory": ChangeClass.NONE,
    "recovery": ChangeClass.NONE,
    "rollout": ChangeClass.NONE,
    "runtime.argumentCheck": ChangeClass.NONE,
    "model.servedName": ChangeClass.REFUSED,
}
"""The class of a field and of all below it. Every other field rolls."""

LIVE_FIELDS: Final = frozenset(
    field for field, kind in _CLASSES.items() if kind is ChangeClass.NONE and "." not in field
)
"""Fields that are read from the live spec alone: no revision holds them."""


def keep_live(spec: Json, live: Json) -> Json:
    """A spec of a revision, with all that restarts nothing as it stands in a live one."""
    kept = {**spec, **{name: live[name] for name in LIVE_FIELDS if name in live}}
    for group, _, name in (path.partition(".") for path, kind in _CLASSES.items() if kind is ChangeClass.NONE):
        inner, now = kept.get(group), live.get(group)
        if name and isinstance(inner, dict) and isinstance(now, dict) and name in now:
            kept[group] = {**inner, name: now[name]}
    return kept


@dataclass(frozen=True, slots=True)
class Change:
    """A field of the spec that differs; None where it is not set."""

    path: str
    """As `spec.engine.maxNumSeqs`."""
    old: JsonValue
    new: JsonValue

    @property
    def change_class(self) -> ChangeClass:
        """What this change does."""
        path = self.path.removeprefix("spec.")
        return next((c for field, c in _CLASSES.items() if path == field or path.startswith(f"{field}.")), _DEFAULT)


_DEFAULT: Final = ChangeClass.ROLLING


def find_changes(old: LLMDeploymentSpec, new: LLMDeploymentSpec) -> tuple[Change, ...]:
    """Every field that differs, with the defaults filled in on both sides, in the order of the schema."""
    dumps = (spec.model_dump(mode="json", by_alias=True, exclude_none=True) for spec in (old, new))
    return tuple(_differences("spec", *dumps))


def _differences(path: str, old: JsonValue, new: JsonValue) -> Iterator[Change]:
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*new, *(name for name in old if name not in new)]:
            yield from _differences(f"{path}.{name}", old.get(name), new.get(name))
        return
    yield Change(path, old, new)


def rolling_part(spec: LLMDeploymentSpec) -> LLMDeploymentSpec:
    """The spec with everything that restarts nothing set back to its default."""
    for path in (path for path, kind in _CLASSES.items() if kind is ChangeClass.NONE):
        spec = _reset(spec, path.split("."))
    return spec


def _reset(model: _Model, path: list[str]) -> _Model:
    name = next(name for name, field in type(model).model_fields.items() if (field.alias or name) == path[0])
    if len(path) == 1:
        return model.model_copy(update={name: type(model).model_fields[name].get_default()})
    return model.model_copy(update={name: _reset(getattr(model, name), path[1:])})
