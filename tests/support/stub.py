"""A stand-in for the module that Triton's stub gives to a Python backend."""

import sys
from functools import partial
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

NAME = "triton_python_backend_utils"


class TritonError(str):
    """An error that keeps its text and its code."""

    __slots__ = ("code",)
    CANCELLED = "cancelled"

    def __new__(cls, text: str, code: str = "internal") -> "TritonError":
        """As Triton's: the code may be left out."""
        made = super().__new__(cls, text)
        made.code = code
        return made


class TritonModelException(Exception):
    """What the server answers with when it does not do something."""


class Family:
    """A metric family whose metrics write into one dictionary, by name."""

    def __init__(self, written: dict[str, list[float]], name: str, **_: Any) -> None:
        self._values = written.setdefault(name.removeprefix("vllm:"), [])

    def Metric(self, **_labels: Any) -> SimpleNamespace:  # noqa: N802 - Triton's name
        """One that appends whatever is done to it."""
        add = self._values.append
        return SimpleNamespace(set=add, increment=add, observe=add)


def load_backend(monkeypatch: pytest.MonkeyPatch, *modules: str) -> SimpleNamespace:
    """`modules` of llm_backend over the stand-in, each by its name; `written` is what metrics got, by their names."""
    written: dict[str, list[float]] = {}
    stub = ModuleType(NAME)
    stub.__dict__.update(
        TRITONSERVER_RESPONSE_COMPLETE_FINAL=1,
        Tensor=lambda name, values: (name, values.tolist()),
        TritonError=TritonError,
        TritonModelException=TritonModelException,
        InferenceResponse=lambda output_tensors=(), error=None: dict(output_tensors) if error is None else error,
        MetricFamily=partial(Family, written),
        Logger=SimpleNamespace(log_info=print, log_error=print),
    )
    stub.MetricFamily.__dict__.update(COUNTER="counter", GAUGE="gauge", HISTOGRAM="histogram")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, NAME, stub)
    for module in modules:
        monkeypatch.delitem(sys.modules, f"llm_backend.{module}", raising=False)
    # Not `from llm_backend import`: that would find the module of an earlier test.
    return SimpleNamespace(written=written, **{name: import_module(f"llm_backend.{name}") for name in modules})
