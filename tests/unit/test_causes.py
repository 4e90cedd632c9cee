"""Of what the engine's own processes log as errors, the cause is found."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_backend import causes

ECHO = "WorkerProc initialization failed due to an exception in a background process."


@pytest.fixture
def errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(causes, "ERRORS", tmp_path / "errors.log")
    logger = logging.getLogger("vllm")
    before = list(logger.handlers)
    yield tmp_path / "errors.log"
    logger.handlers[:] = before


def fail(error: Exception, message: str) -> None:
    try:
        raise error
    except Exception:
        logging.getLogger("vllm.v1.engine.core").exception(message)


def test_the_first_error_that_is_no_echo_is_the_cause(errors: Path) -> None:
    causes.keep_errors()
    causes.keep_errors()
    fail(RuntimeError("NCCL error: invalid usage"), "WorkerProc failed to start.")
    fail(
        Exception("WorkerProc initialization failed due to an exception in a background process."), "EngineCore failed"
    )
    assert causes.find_cause() == "RuntimeError: NCCL error: invalid usage"
    assert errors.read_text().count("WorkerProc failed to start.") == 1, "one handler, however often it is asked for"


def test_an_echo_comes_first_where_the_core_was_quicker(errors: Path) -> None:
    causes.keep_errors()
    fail(
        Exception("WorkerProc initialization failed due to an exception in a background process."), "EngineCore failed"
    )
    fail(ValueError("To serve at least one request"), "late")
    assert causes.find_cause() == "ValueError: To serve at least one request"


def test_without_errors_there_is_no_cause(errors: Path) -> None:
    causes.keep_errors()
    logging.getLogger("vllm").warning("RuntimeError: only a warning")
    assert causes.find_cause() == ""
    errors.write_text("an old start: ValueError: gone\nValueError: old\n")
    causes.forget_errors()
    assert causes.find_cause() == ""


def test_the_file_does_not_grow_for_ever(errors: Path) -> None:
    causes.keep_errors()
    errors.write_text("x" * 2**20)
    fail(ValueError("more"), "again")
    assert errors.stat().st_size == 2**20


def test_what_cannot_be_written_keeps_nobody_from_logging(errors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causes, "ERRORS", errors / "no" / "such" / "folder")
    causes.keep_errors()
    fail(ValueError("unseen"), "again")
    assert causes.find_cause() == ""
