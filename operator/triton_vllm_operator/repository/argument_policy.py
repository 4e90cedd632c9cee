"""Which engine arguments `extraArgs` may hold, whatever the vLLM version: argument_policy.yaml, typed."""

import re
from functools import cache
from importlib import resources
from typing import Final, get_args

import yaml
from pydantic import JsonValue

from triton_vllm_operator.api import names
from triton_vllm_operator.api.engine import OF_A_REQUEST, REQUEST_PARAMETERS, Engine
from triton_vllm_operator.repository.arguments import FrozenModel
from triton_vllm_operator.repository.references import find_reference, is_below_the_model

TYPED_FIELDS: Final = {name: field.alias or name for name, field in Engine.model_fields.items() if name != "extra_args"}
"""Arguments that have a field of spec.engine, and its name there."""


_NEGATION: Final = "no_"


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


class FileRule(FrozenModel):
    """An argument that names a file or a folder."""

    instead: str
    words: frozenset[str] = frozenset()
    """Texts that name none."""


class ArgumentPolicy(FrozenModel):
    """What extraArgs does with each argument."""

    operator: dict[str, str]
    values: dict[str, dict[str | int, str]]
    """A better word for a value that is refused."""
    files: dict[str, FileRule]
    addresses: frozenset[str]
    fields: dict[str, str]
    """Arguments of vLLM's own server that are a field here."""
    short: dict[str, str]
    """Short flags of vLLM's command line, and what they stand for."""
    server: frozenset[str]
    """Arguments of vLLM's own server."""
    refused: tuple[RefusedGroup, ...]
    members: dict[str, MemberRule]
    allowed: frozenset[str]

    def refusal(self, name: str, value: JsonValue) -> str:
        """Why extraArgs may not hold this; empty if it may."""
        return self._respell(name, value) or self._rule(name, value)

    def _respell(self, name: str, value: JsonValue) -> str:
        """What is meant by a flag of vLLM's command line, or a name in another spelling."""
        spelled = to_snake(name)
        if spelled != name and spelled in self.known:
            why = self._rule(spelled, value)
            return f"it is {spelled}: {why}" if why else f"vLLM's arguments are named as in Python: write {spelled}"
        return self._negated(spelled) or self._short(spelled)

    def _negated(self, spelled: str) -> str:
        name = spelled.removeprefix(_NEGATION)
        if name == spelled or name not in self.known:
            return ""
        flag = "it is a flag of vLLM's command line"
        if name in TYPED_FIELDS:
            return f"{flag}: write spec.engine.{TYPED_FIELDS[name]}: false" if _is_flag(name) else ""
        return f"{flag}: {self._name_rule(name) or f'write {name}: false'}"

    def _short(self, spelled: str) -> str:
        meant = self.short.get(spelled)
        if meant is None:
            return ""
        field = f"spec.engine.{TYPED_FIELDS[meant]}" if meant in TYPED_FIELDS else meant
        return f"it is short for {meant}: {self._name_rule(meant) or f'write {field}'}"

    def place_of(self, name: str) -> str:
        """Where an argument goes that is no field, however it is spelled, or why nowhere; empty if none is meant."""
        spelled = to_snake(name)
        if why := self._negated(spelled) or self._short(spelled) or self._name_rule(spelled):
            return why
        is_known = spelled in {*self.allowed, *self.members, *self.files, *self.addresses}
        return f"write spec.engine.extraArgs.{spelled}" if is_known else ""

    def _rule(self, name: str, value: JsonValue) -> str:
        if name in TYPED_FIELDS:
            return _own_field(name)
        if better := self.values.get(name, {}).get(_spelled(value)):
            return better
        if why := self._name_rule(name):
            return why
        if (rule := self.members.get(name)) and (refusal := _member_refusal(rule, value)):
            return refusal
        return self._reference_refusal(name, value)

    def _name_rule(self, name: str) -> str:
        if name in self.operator:
            return f"the operator sets it: {self.operator[name]}"
        for group in self.refused:
            if name in group.arguments:
                return group.why
        if name in REQUEST_PARAMETERS:
            return OF_A_REQUEST
        if name in self.fields:
            return f"write {self.fields[name]}"
        if name in self.server:
            return "it is an argument of vLLM's own server, which does not run here: Triton serves in its place"
        return ""

    @property
    def known(self) -> frozenset[str]:
        """Every argument that this policy speaks of."""
        refused = (name for group in self.refused for name in group.arguments)
        named = {*TYPED_FIELDS, *self.operator, *self.files, *self.addresses, *self.fields, *self.server}
        named |= set(REQUEST_PARAMETERS)
        return frozenset({*named, *refused, *self.members, *self.allowed})

    def _reference_refusal(self, name: str, value: JsonValue) -> str:
        """Why a value may not name what it names: another file, a repository, an address."""
        if (rule := self.files.get(name)) is not None:
            if not isinstance(value, str) or value in rule.words or is_below_the_model(value):
                return ""
            return f"{value!r} is nothing in the model's own folder ({names.WEIGHTS}/...); {rule.instead}"
        if name in self.addresses:
            return ""
        reference = find_reference(value)
        if reference is None:
            return ""
        inside = f"its member {reference.member} " if reference.member else ""
        return f"{inside}names {reference.text!r}: {reference.why}"


def _own_field(name: str) -> str:
    return f"it has a field of its own: write spec.engine.{TYPED_FIELDS[name]}"


def _is_flag(name: str) -> bool:
    return bool in get_args(Engine.model_fields[name].annotation)


def to_snake(name: str) -> str:
    """A name as a flag (--max-num-seqs), or as a field (maxNumSeqs), as Python would write it."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name.lstrip("-")).replace("-", "_").lower()


def _spelled(value: JsonValue) -> str | int:
    """A value as the policy's keys are written."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str | int) else ""


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
