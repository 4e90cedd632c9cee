"""What the backend says of a dead engine, and what it does on request."""

from types import SimpleNamespace
from typing import Any

import pytest

from support.stub import load_backend


class Sender:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, int]] = []

    def send(self, response: Any, flags: int = 0) -> None:
        self.sent.append((response, flags))


class Engine:
    """Takes requests; it may be dead."""

    def __init__(self) -> None:
        self.is_dead = False
        self.taken: list[Any] = []

    def submit(self, request: Any, _sender: Sender) -> None:
        self.taken.append(request)


def make(monkeypatch: pytest.MonkeyPatch, unloads: bool, refusal: str = "") -> SimpleNamespace:
    loaded = load_backend(monkeypatch, "outbox", "model")
    unloaded: list[str] = []

    def unload(name: str) -> None:
        if refusal:
            raise loaded.model.pb_utils.TritonModelException(refusal)
        unloaded.append(name)

    monkeypatch.setattr(loaded.model.pb_utils, "unload_model", unload, raising=False)
    monkeypatch.setattr(loaded.model, "read_request", lambda request: request)
    model, engine = loaded.model.TritonPythonModel(), Engine()
    model._engine, model._unloads_when_dead, model._name = engine, unloads, "m"
    return SimpleNamespace(model=model, engine=engine, unloaded=unloaded)


def ask(made: SimpleNamespace) -> Sender:
    sender = Sender()
    made.model.execute([SimpleNamespace(get_response_sender=lambda: sender)])
    return sender


def test_the_model_is_ready_while_its_engine_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    made = make(monkeypatch, unloads=False)
    assert made.model.is_ready()
    made.engine.is_dead = True
    assert not made.model.is_ready()
    # Unless asked otherwise the engine itself answers, with its own words.
    assert ask(made).sent == []
    assert (len(made.engine.taken), made.unloaded) == (1, [])


def test_with_the_health_check_a_dead_engine_is_unloaded_by_the_next_request(monkeypatch: pytest.MonkeyPatch) -> None:
    made = make(monkeypatch, unloads=True)
    assert ask(made).sent == []
    made.engine.is_dead = True
    ((answer, flags),) = ask(made).sent
    assert (str(answer), flags) == ("Model is unavailable due to unhealthy vLLM engine", 1)
    assert (len(made.engine.taken), made.unloaded) == (1, ["m"])


def test_a_server_that_unloads_nothing_answers_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    made = make(monkeypatch, unloads=True, refusal="explicit model load / unload is not allowed")
    made.engine.is_dead = True
    assert len(ask(made).sent) == 1
