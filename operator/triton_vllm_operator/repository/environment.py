"""Which environment variables `spec.env` may hold: environment_policy.yaml, and what each vLLM version reads. Pure."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from typing import Final

import yaml

from triton_vllm_operator.api.pods import EnvVariable
from triton_vllm_operator.repository.arguments import EngineArguments, FrozenModel, load_arguments

_FIELD: Final = "spec.env"
_VLLM: Final = "VLLM_"


class RefusedVariables(FrozenModel):
    """Variables that one rule refuses."""

    why: str
    names: tuple[str, ...]
    """Shell patterns."""


class EnvironmentPolicy(FrozenModel):
    """What spec.env does with each variable."""

    operator: dict[str, str]
    refused: tuple[RefusedVariables, ...]
    allowed: tuple[str, ...]
    """Shell patterns."""

    def refusal(self, name: str) -> str:
        """Why spec.env may not hold this variable; empty if it may, or if nothing is known of it."""
        if name in self.operator:
            return f"the operator sets it: {self.operator[name]}"
        if name in self.allowed:
            return ""
        return next((group.why for group in self.refused if _fits(name, group.names)), "")

    def allows(self, name: str) -> bool:
        """Whether it is known to do no harm."""
        return _fits(name, self.allowed)


@dataclass(frozen=True, slots=True)
class EnvironmentFault:
    """One variable that may not be set."""

    message: str
    is_forbidden: bool
    """Whether it is refused by rule, and not for this vLLM version alone."""


def check_environment(
    variables: Iterable[EnvVariable], vllm: str, unknown_allowed: bool
) -> tuple[EnvironmentFault, ...]:
    """Everything that is wrong with the variables, in their order."""
    known = load_arguments(vllm)
    found = (_fault(variable, known, unknown_allowed) for variable in variables)
    return tuple(fault for fault in found if fault is not None)


def _fault(variable: EnvVariable, known: EngineArguments | None, unknown_allowed: bool) -> EnvironmentFault | None:
    policy, name, where = load_environment_policy(), variable.name, f"{_FIELD}[{variable.name}]"
    if refusal := policy.refusal(name):
        return EnvironmentFault(f"{where}: {refusal}", is_forbidden=True)
    if name.startswith(_VLLM) and known is not None:
        if misfit := _misfit(variable, known):
            return EnvironmentFault(f"{where}: {misfit}", is_forbidden=False)
        return None
    if policy.allows(name) or unknown_allowed:
        return None
    message = (
        f"{where}: nothing is known of it, and the administrator lets only known variables pass; "
        "ask for the chart's allow.unknownEnvironment"
    )
    return EnvironmentFault(message, is_forbidden=True)


def _misfit(variable: EnvVariable, known: EngineArguments) -> str:
    """Why this vLLM version does not take a variable of its own name."""
    name = variable.name
    if (read := known.environment.get(name)) is not None:
        if misfit := read.form.misfit(variable.value) if read.form else "":
            return f"vLLM {known.vllm} {misfit}; found {variable.value!r}"
        if not read.choices or variable.value in read.choices:
            return ""
        return f"vLLM {known.vllm} takes one of {', '.join(read.choices)}; found {variable.value!r}"
    if gone := known.gone_environment.get(name):
        return f"it was removed in vLLM {gone.since}" + (f"; {gone.instead}" if gone.instead else "")
    near = difflib.get_close_matches(name, known.environment, n=1, cutoff=0.8)
    return f"vLLM {known.vllm} reads no such variable" + (f": did you mean {near[0]}?" if near else "")


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@cache
def load_environment_policy() -> EnvironmentPolicy:
    """The policy that the package holds."""
    text = (resources.files(__package__) / "environment_policy.yaml").read_text()
    return EnvironmentPolicy.model_validate(yaml.safe_load(text))
