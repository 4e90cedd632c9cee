"""A pod that goes while it loads: nobody waits for an answer of its, and its place is wanted."""

from typing import Final

import pytest

from cluster.kubectl import kubectl, wait_until
from support.llm import apply, condition, get_llm, make_llm, pods_of

pytestmark = pytest.mark.e2e
NAME: Final = "loading"
AT_MOST_SECONDS: Final = 15
"""5 s until kubelet kills it, and what kubelet takes; it loads for more than 30 on two processors."""


def test_it_is_gone_before_it_would_have_loaded(namespace: str) -> None:
    apply(make_llm(NAME, namespace))
    wait_until(
        "Triton loads", 120, lambda: "successfully loaded" not in _log(namespace) and "Starting" in _log(namespace)
    )
    kubectl("-n", namespace, "scale", "llm", NAME, "--replicas=0")
    took = wait_until("its pod is gone", 120, lambda: not pods_of(namespace, NAME), every=0.2)
    print(f"a pod that loads: gone {took:.1f} s after it was scaled to none")
    assert took < AT_MOST_SECONDS
    wait_until(
        "it is as wanted", 10, lambda: condition(get_llm(namespace, NAME), "Ready").get("reason") == "ScaledToZero"
    )


def _log(namespace: str) -> str:
    (pod,) = pods_of(namespace, NAME)
    return kubectl("-n", namespace, "logs", pod["metadata"]["name"])
