"""Which engine arguments `extraArgs` may hold, whatever the vLLM version: argument_policy.yaml, typed."""

import re
from functools import cache
from importlib import resources
from typing import Final

import yaml
from pydantic import JsonValue

from triton_vllm_operator.api import names
from triton_vllm_operator.api.engine import OF_A_REQUEST, REQUEST_PARAMETERS, Engine
from triton_vllm_operator.repository.arguments import FrozenModel
from triton_vllm_operator.repository.references import find_reference, is_below_the_model

TYPED_FIELDS: Final = {name: field.alias or name for name, field in Engine.model_fields.items() if name != "extra_args"}
"""Arguments that have a field of spec.engine, and its name there."""


_NEGATION: Final = "no_"
# https://github.com/vllm-project/vllm/blob/main/vllm/engine/arg_utils.py (add_cli_args)
_SHORT_FLAGS: Final = {
    "tp": "tensor_parallel_size",
    "pp": "pipeline_parallel_size",
    "dp": "data_parallel_size",
    "dcp": "decode_context_parallel_size",
    "ep": "enable_expert_parallel",
    "q": "quantization",
    "cc": "compilation_config",
    "sc": "speculative_config",
}


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
        if spelled.startswith(_NEGATION) and (negated := spelled.removeprefix(_NEGATION)) in self.known:
            return f"it is a flag of vLLM's command line: {self._say_false(negated)}"
        if (meant := _SHORT_FLAGS.get(spelled)) is not None:
            return f"it is short for {meant}: {self._rule(meant, value) or f'write {meant}'}"
        return ""

    def _rule(self, name: str, value: JsonValue) -> str:
        if name in TYPED_FIELDS:
            return f"it has a field of its own: write spec.engine.{TYPED_FIELDS[name]}"
        if better := self.values.get(name, {}).get(_spelled(value)):
            return better
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
        if (rule := self.members.get(name)) and (refusal := _member_refusal(rule, value)):
            return refusal
        return self._reference_refusal(name, value)

    def _say_false(self, name: str) -> str:
        if name in TYPED_FIELDS:
            return f"write spec.engine.{TYPED_FIELDS[name]}: false"
        return self._rule(name, False) or f"write {name}: false"

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
