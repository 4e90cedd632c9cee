"""The program that checks sources, on folders of a test."""

from pathlib import Path
from typing import Any

import pytest

from triton_vllm_operator.sources.fault import SourceFault
from triton_vllm_operator.sources.program import run
from triton_vllm_operator.sources.report import Report
from triton_vllm_operator.sources.task import Action, Expectation, Role, Task, TaskList


def task(folder: Path, role: Role = Role.MODEL, field: str = "spec.model", **expected: Any) -> Task:
    expectation = Expectation(role=role, **{"vllm": "0.27.1", **expected})
    volume = field.rpartition(".")[2]
    return Task(field=field, volume=volume, action=Action.CHECK, folder=str(folder), expectation=expectation)


def check(*tasks: Task) -> Report:
    return run(TaskList(tasks=tasks), say=lambda _line: None)


def refusal(*tasks: Task) -> str:
    with pytest.raises(SourceFault) as caught:
        check(*tasks)
    return str(caught.value)


def warning_of(report: Report, number: int = 0) -> str:
    facts = report.sources[number].facts
    return (facts.warning or "") if facts else ""
