"""What every API type shares: frozen, camelCase, no unknown field, and rules between fields."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Final, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict
from pydantic_core import CoreSchema, PydanticCustomError
from pydantic_core.core_schema import no_info_after_validator_function

from triton_vllm_operator.api import quantity

Json = dict[str, object]
"""An object as the API server has it. Only `kube`, `manifests` and this package look inside one."""

CEL_RULES = "x-kubernetes-validations"
INT_OR_STRING = "x-kubernetes-int-or-string"
LIST_TYPE = "x-kubernetes-list-type"
LIST_MAP_KEYS = "x-kubernetes-list-map-keys"
GENERATION_LIMIT: Final = 2**53 - 1
"""The API server reads a schema's bounds as floats: larger ones are not what they say."""
PRESERVE_UNKNOWN = "x-kubernetes-preserve-unknown-fields"

RULE_ERROR: Final = "rule"
FORM_ERROR: Final = "form"
OWN_ERRORS: Final = (RULE_ERROR, FORM_ERROR)
"""Types of pydantic's errors that say in Python what a CRD says in CEL."""


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
    @cache
    def rules(cls) -> tuple[Rule, ...]:
        """The rules of this type, in the order of the source. Each value that is read is held against them."""
        members = (member for owner in reversed(cls.__mro__) for member in vars(owner).values())
        return tuple(member for member in members if isinstance(member, Rule))

    @model_validator(mode="after")
    def _keep_rules(self) -> Self:
        if broken := [kept.message for kept in type(self).rules() if not kept.holds(self)]:
            raise PydanticCustomError(RULE_ERROR, "{message}", {"message": "; and ".join(broken)})
        return self


@dataclass(frozen=True, slots=True)
class Form:
    """What a text must look like, with words for people: the API server would answer with the expression alone."""

    pattern: str
    """For both RE2 and Python; without single quotes."""
    message: str

    @property
    def cel(self) -> str:
        """The same for the API server."""
        return f"self.matches({cel_text(self.pattern)})"

    def fits(self, text: str) -> bool:
        """Whether a text looks so."""
        return re.fullmatch(self.pattern, text) is not None

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Checked after the type."""
        return no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonDict:
        """As a rule of the CRD."""
        return {**handler(schema), CEL_RULES: [{"rule": self.cel, "message": self.message}]}

    def _check(self, text: str) -> str:
        if not self.fits(text):
            raise PydanticCustomError(FORM_ERROR, "{message}", {"message": self.message})
        return text


def cel_text(text: str) -> str:
    """A text as CEL writes it, raw."""
    assert "'" not in text, f"{text} holds a single quote"
    return f"r'{text}'"


_QUANTITY_WORDS: Final = (
    "a quantity is a number with or without a unit: 500m, 2, 32Gi (x 1024^3) or 32G (x 1000^3); not 32GB, 32 Gi or -1"
)


def _as_quantity(value: object) -> object:
    """The API server also admits a plain integer."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(text, str) and re.fullmatch(quantity.PATTERN, text) is None:
        raise PydanticCustomError(FORM_ERROR, "{message}", {"message": _QUANTITY_WORDS})
    return text


Quantity = Annotated[
    str,
    BeforeValidator(_as_quantity),
    WithJsonSchema(
        {
            INT_OR_STRING: True,
            "maxLength": 32,
            CEL_RULES: [
                {
                    "rule": f"type(self) == int ? self >= 0 : self.matches({cel_text(quantity.PATTERN)})",
                    "message": _QUANTITY_WORDS,
                }
            ],
        }
    ),
]
"""A Kubernetes quantity; a plain integer is read as text."""

_LABEL_NAME: Final = "[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_DOMAIN: Final = "[a-z0-9]([a-z0-9-]*[a-z0-9])?"
LABEL_KEY: Final = Form(
    f"^({_DOMAIN}([.]{_DOMAIN})*/)?{_LABEL_NAME}$",
    'a key has letters, digits, "-", "_" and ".", at most 63 after the "/", as team or example.com/team',
)
"""k8s.io/apimachinery/pkg/util/validation (IsQualifiedName)."""
LABEL_KEY_LIMIT: Final = 317
LabelKey = Annotated[str, Field(min_length=1, max_length=LABEL_KEY_LIMIT), LABEL_KEY]
LABEL_VALUE: Final = Form(
    f"^({_LABEL_NAME})?$",
    'a value of a label has at most 63 letters, digits, "-", "_" and ".", and begins and ends with a letter or digit; '
    'write numbers and true in quotes, as "true"',
)
LabelValue = Annotated[str, Field(max_length=63), LABEL_VALUE]
ObjectName = Annotated[
    str,
    Field(min_length=1, max_length=253),
    Form(
        "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$",
        'a name of an object has a-z, 0-9, "-" and ".", and begins and ends with a letter or digit',
    ),
]
Int32 = Annotated[int, Field(ge=0, le=2_147_483_647)]
