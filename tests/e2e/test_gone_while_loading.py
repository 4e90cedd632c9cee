"""A pod that goes while it loads: nobody waits for an answer of its, and its place is wanted."""

from typing import Final

import pytest

from cluster.kubectl import kubectl, wait_until
from support.llm import apply, make_llm

pytestmark = pytest.mark.e2e
NAME: Final = "loading"
AT_MOST_SECONDS: Final = 15
"""5 s for its preStop hook, and what kubelet takes; its grace period is 80."""


def test_it_is_gone_before_it_would_have_loaded(namespace: str) -> None:
    apply(make_llm(NAME, namespace))
    wait_until("Triton loads the model", 120, lambda: _says(namespace, "loading: "))
    kubectl("-n", namespace, "scale", "llm", NAME, "--replicas=0")
    took = wait_until("its pod is gone", 120, lambda: not _names_of_pods(namespace), every=0.2)
    print(f"a pod that loads: gone after {took:.1f} s")
    assert took < AT_MOST_SECONDS


def _names_of_pods(namespace: str) -> list[str]:
    """Also those that are being deleted, which hold their places."""
    return kubectl("-n", namespace, "get", "pods", "--output=jsonpath={.items[*].metadata.name}").split()


def _says(namespace: str, words: str) -> bool:
    """Whether the log of its pod holds some words."""
    return any(words in kubectl("-n", namespace, "logs", name) for name in _names_of_pods(namespace))
