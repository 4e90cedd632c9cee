"""Explanations and manifests as text, YAML and JSON."""

import json
from enum import StrEnum

import yaml
from pydantic import JsonValue, TypeAdapter

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.changes import ChangeClass
from triton_vllm_operator.cli.explain import Explanation
from triton_vllm_operator.health.failures.pods import Problem
from triton_vllm_operator.manifests.config_map import KEY_CONFIG, repository_files
from triton_vllm_operator.manifests.revision import Revision
from triton_vllm_operator.manifests.start import REPOSITORY


class Format(StrEnum):
    """The values of `-o`."""

    TEXT = "text"
    YAML = "yaml"
    JSON = "json"


_EFFECTS = {
    ChangeClass.NONE: "nothing restarts",
    ChangeClass.ROLLING: "every pod is replaced, as spec.rollout says",
    ChangeClass.REFUSED: "the API server refuses the change",
}


def print_manifests(manifests: tuple[Json, ...], revision: Revision, form: Format) -> str:
    """All children; as text, the repository stands above them as comments."""
    if form is Format.JSON:
        return json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}, indent=2) + "\n"
    documents = yaml.dump_all(manifests, Dumper=_Dumper, sort_keys=False, width=120, explicit_start=True)
    if form is Format.YAML:
        return documents
    folder = f"{REPOSITORY}/{revision.served_name}"
    lines: list[str] = []
    for name, text in repository_files(revision.repository).items():
        path = name if name == KEY_CONFIG else f"1/{name}"
        lines += [f"{folder}/{path}:", *(f"  {row}" for row in text.splitlines())]
    return "\n".join(f"# {line}" for line in lines) + "\n" + documents


def print_explanation(explanation: Explanation, form: Format) -> str:
    """The explanation for people or for programs."""
    if form is Format.TEXT:
        return "\n".join(_lines(explanation)) + "\n"
    data = _as_data(explanation)
    if form is Format.JSON:
        return json.dumps(data, indent=2) + "\n"
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=120)


def _as_data(explanation: Explanation) -> Json:
    data: Json = TypeAdapter(Explanation).dump_python(explanation, mode="json")
    del data["memory"]
    if explanation.memory is not None:
        data["memory"] = {"verdict": explanation.memory[0], "message": explanation.memory[1]}
    if explanation.changes is not None:
        data["effect"] = explanation.effect.value
        data["changes"] = [
            {"path": c.path, "old": c.old, "new": c.new, "class": c.change_class.value} for c in explanation.changes
        ]
    return data


def refusal_lines(name: str, faults: tuple[Problem, ...]) -> list[str]:
    """All that is wrong with an LLMDeployment, one fault a line."""
    if len(faults) == 1:
        return [f"{name}: refused ({faults[0].reason}): {faults[0].message}"]
    rows = _table([(fault.reason.value, fault.message, "") for fault in faults])
    return [f"{name}: refused, {len(faults)} faults", *(row.rstrip() for row in rows)]


def _verdict(explanation: Explanation) -> str:
    verdict = "accepted" if explanation.accepted else f"refused ({explanation.reason})"
    return f"{explanation.name}: {verdict}" + (f": {explanation.message}" if explanation.message else "")


def _lines(explanation: Explanation) -> list[str]:
    lines = refusal_lines(explanation.name, explanation.faults) if explanation.faults else [_verdict(explanation)]
    if (runtime := explanation.runtime) is not None:
        on = _count(explanation.gpus, "GPU") if explanation.gpus else "CPU cores"
        each = " each" if explanation.gpus and explanation.replicas != 1 else ""
        pods = f"{_count(explanation.replicas, 'pod')} on {on}{each}"
        lines.append(f"  {pods}; Triton {runtime.triton}, vLLM {runtime.vllm}, {runtime.image}")
    if explanation.memory is not None:
        lines.append(f"  memory: {explanation.memory[1]}")
    if explanation.changes is not None:
        lines += ["", f"changes: {_EFFECTS[explanation.effect] if explanation.changes else 'none'}"]
        rows = [(c.change_class.value, c.path, f"{_show(c.old)} -> {_show(c.new)}") for c in explanation.changes]
        lines += _table(rows)
    if explanation.settings:
        lines += ["", "engine arguments:"]
        given = [setting for setting in explanation.settings if setting.value is not None]
        lines += _table([(setting.argument, _show(setting.value), setting.origin) for setting in given])
        left = ", ".join(setting.argument for setting in explanation.settings if setting.value is None)
        lines.append(f"  vLLM decides at its start: {left}")
    if explanation.warnings:
        lines += ["", "warnings:", *(f"  - {warning}" for warning in explanation.warnings)]
    return lines


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _table(rows: list[tuple[str, str, str]]) -> list[str]:
    first = max((len(row[0]) for row in rows), default=0)
    second = max((len(row[1]) for row in rows), default=0)
    return [f"  {one:<{first}}  {other:<{second}}  {rest}" for one, other, rest in rows]


def _show(value: JsonValue) -> str:
    return "unset" if value is None else json.dumps(value)


class _Dumper(yaml.SafeDumper):
    """Files inside a manifest are shown as they are."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - pyyaml's interface
        """Anchors save lines and cost every reader."""
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)
