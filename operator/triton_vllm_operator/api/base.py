"""What every API type shares: frozen, camelCase, no unknown field, and rules between fields."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from triton_vllm_operator.api import quantity

Json = dict[str, object]
"""An object as the API server has it. Only `kube`, `manifests` and this package look inside one."""

CEL_RULES = "x-kubernetes-validations"
INT_OR_STRING = "x-kubernetes-int-or-string"
LIST_TYPE = "x-kubernetes-list-type"
LIST_MAP_KEYS = "x-kubernetes-list-map-keys"
PRESERVE_UNKNOWN = "x-kubernetes-preserve-unknown-fields"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule between fields of one object, in two languages.

    The API server keeps it in CEL, also while the operator is down; what has no API server (`kubectl-llm`, an
    operator newer than its CRD) keeps it in Python. tests/e2e holds the two together.
    """

    cel: str
    message: str
    holds: Callable[..., bool]


_Model = TypeVar("_Model", bound="ApiModel")


def rule(cel: str, message: str) -> Callable[[Callable[[_Model], bool]], Rule]:
    """Mark a method as a rule: it says in Python what `cel` says of `self`."""

    def mark(holds: Callable[[_Model], bool]) -> Rule:
        return Rule(cel, message, holds)

    return mark


def _add_rules(schema: JsonDict, model: "type[ApiModel]") -> None:
    if rules := model.rules():
        schema[CEL_RULES] = [{"rule": rule.cel, "message": rule.message} for rule in rules]


class ApiModel(BaseModel):
    """Base of all types of the LLMDeployment API."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        ignored_types=(Rule,),
        json_schema_extra=_add_rules,
    )

    @classmethod
    def rules(cls) -> tuple[Rule, ...]:
        """The rules of this type, in the order of the source."""
        members = (member for owner in reversed(cls.__mro__) for member in vars(owner).values())
        return tuple(member for member in members if isinstance(member, Rule))

    @model_validator(mode="after")
    def _keep_rules(self) -> Self:
        for kept in type(self).rules():
            if not kept.holds(self):
                raise PydanticCustomError("rule", "{message}", {"message": kept.message})
        return self


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Quantity = Annotated[
    str,
    Field(pattern=quantity.PATTERN, min_length=1, max_length=32, json_schema_extra={INT_OR_STRING: True}),
    BeforeValidator(_as_text),
]
"""A Kubernetes quantity; the API server also admits a plain integer, which is read as text."""

LabelKey = Annotated[str, Field(min_length=1, max_length=317)]
LabelValue = Annotated[str, Field(max_length=63)]
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")]
Int32 = Annotated[int, Field(ge=0, le=2_147_483_647)]
