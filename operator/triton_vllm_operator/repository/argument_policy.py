"""Which engine arguments `extraArgs` may hold, whatever the vLLM version: argument_policy.yaml, typed."""

from functools import cache
from importlib import resources
from typing import Final

import yaml
from pydantic import JsonValue

from triton_vllm_operator.api.engine import Engine
from triton_vllm_operator.repository.arguments import FrozenModel

TYPED_FIELDS: Final = {name: field.alias or name for name, field in Engine.model_fields.items() if name != "extra_args"}
"""Arguments that have a field of spec.engine, and its name there."""


class RefusedGroup(FrozenModel):
    """Arguments that one rule refuses."""

    why: str
    arguments: frozenset[str]


class MemberRule(FrozenModel):
    """Which members of an object argument are refused: those named, or all but those allowed."""

    why: str
    refused: frozenset[str] = frozenset()
    allowed: frozenset[str] = frozenset()

    def refuses(self, member: str) -> bool:
        """Whether the object may not hold this member."""
        return member not in self.allowed if self.allowed else member in self.refused


class ArgumentPolicy(FrozenModel):
    """What extraArgs does with each argument."""

    operator: dict[str, str]
    refused: tuple[RefusedGroup, ...]
    members: dict[str, MemberRule]
    allowed: frozenset[str]

    def refusal(self, name: str, value: JsonValue) -> str:
        """Why extraArgs may not hold this; empty if it may."""
        if name in TYPED_FIELDS:
            return f"it has a field of its own: write spec.engine.{TYPED_FIELDS[name]}"
        if name in self.operator:
            return f"the operator sets it: {self.operator[name]}"
        for group in self.refused:
            if name in group.arguments:
                return group.why
        if rule := self.members.get(name):
            return _member_refusal(rule, value)
        return ""

    @property
    def classified(self) -> frozenset[str]:
        """Every argument that this policy speaks of."""
        refused = (name for group in self.refused for name in group.arguments)
        return frozenset({*TYPED_FIELDS, *self.operator, *refused, *self.members, *self.allowed})


def _member_refusal(rule: MemberRule, value: JsonValue) -> str:
    if not isinstance(value, dict):
        # vLLM reads some of these from text too, where no member could be told.
        return "write it as an object"
    found = sorted(filter(rule.refuses, value))
    return f"its member {found[0]} is refused: {rule.why}" if found else ""


@cache
def load_policy() -> ArgumentPolicy:
    """The policy that the package holds."""
    text = (resources.files(__package__) / "argument_policy.yaml").read_text()
    return ArgumentPolicy.model_validate(yaml.safe_load(text))
