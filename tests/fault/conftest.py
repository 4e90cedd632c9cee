"""What all tests against the scripted API server share."""

import pytest

from triton_vllm_operator.kube import client as client_module


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request is tried again at once."""
    monkeypatch.setattr(client_module, "_pause", lambda *_: 0.0)
