"""An engine that ends for what only an edit mends is started five times, then no pod holds its place any longer."""

import json

import pytest

from cluster.kubectl import kubectl, kubectl_json
from support.llm import apply, condition, make_llm, pods_of, wait_for, wait_ready

pytestmark = [pytest.mark.e2e, pytest.mark.full]
NAME = "vain"
RUNTIME = {"version": "cpu-0.32.0", "argumentCheck": "Warn"}


def wait_stopped(namespace: str) -> float:
    """Kubelet waits 10, 20, 40 and 80 s between the ends, and each start takes its time."""
    seconds = wait_for(namespace, NAME, "is stopped", 600, lambda llm: bool(llm["status"].get("stopped")))
    wait_for(namespace, NAME, "has no pod", 60, lambda _: not pods_of(namespace, NAME))
    return seconds


def test_it_is_stopped_tried_again_on_request_and_served_after_an_edit(shared_namespace: str) -> None:
    bad = {"extraArgs": {"no_such_argument": 1}}
    apply(make_llm(NAME, shared_namespace, runtime=RUNTIME, engine={"maxModelLen": 1024, **bad}))
    print(f"stopped after {wait_stopped(shared_namespace):.0f} s")
    llm = kubectl_json("-n", shared_namespace, "get", "llm", NAME)
    ready = condition(llm, "Ready")
    print(json.dumps(ready, indent=1))
    assert (ready["reason"], condition(llm, "Stalled")["status"]) == ("ArgumentUnknown", "True")
    assert "this version's engine has no argument no_such_argument" in ready["message"]
    assert "kubectl llm restart" in ready["message"]
    # What kubectl llm restart does.
    kubectl("-n", shared_namespace, "rollout", "restart", f"deployment/{NAME}")
    wait_for(shared_namespace, NAME, "is tried again", 60, lambda _: bool(pods_of(shared_namespace, NAME)))
    apply(make_llm(NAME, shared_namespace, runtime=RUNTIME))
    wait_ready(shared_namespace, NAME)
    assert "stopped" not in kubectl_json("-n", shared_namespace, "get", "llm", NAME)["status"]
    kubectl("-n", shared_namespace, "delete", "llm", NAME)
