"""What every API type shares: frozen, camelCase, no unknown field."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

from triton_vllm_operator.api import quantity

Json = dict[str, object]
"""An object as the API server has it. Only `kube`, `manifests` and this package look inside one."""

CEL_RULES = "x-kubernetes-validations"
INT_OR_STRING = "x-kubernetes-int-or-string"
LIST_TYPE = "x-kubernetes-list-type"
LIST_MAP_KEYS = "x-kubernetes-list-map-keys"
PRESERVE_UNKNOWN = "x-kubernetes-preserve-unknown-fields"


class ApiModel(BaseModel):
    """Base of all types of the LLMDeployment API."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
    )


def rules(*pairs: tuple[str, str]) -> JsonDict:
    """CEL validation rules for `json_schema_extra`: pairs of rule and message."""
    return {CEL_RULES: [{"rule": rule, "message": message} for rule, message in pairs]}


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
