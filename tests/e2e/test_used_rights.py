"""The operator's rights against what it asked for in this session. Runs after the tests that make it ask."""

import pytest

from cluster.kubectl import kubectl_json
from support.audit import operator_requests
from support.install import RELEASE

pytestmark = pytest.mark.e2e


def test_the_operator_uses_all_of_its_rights_and_asks_for_no_more(session_began: str) -> None:
    rules = kubectl_json("get", "clusterrole", RELEASE)["rules"]
    granted = {(g, r, v) for rule in rules for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"]}
    # Also what was refused: a server that has just been started refuses everything until it has read its roles.
    requests = operator_requests(since=session_began)
    used = {(request.group, request.resource, request.verb) for request in requests if request.resource}
    # Of two operators alone, by a Role that is there with them (test_two_operators.py).
    of_lease = {asked for asked in used if asked[1] == "leases"}
    assert of_lease <= {("coordination.k8s.io", "leases", "get"), ("coordination.k8s.io", "leases", "patch")}
    used -= of_lease
    # A server-side apply of an object that is not there yet is authorized as patch and as create, and
    # logged as patch. Whether an owner may be blocked is asked of `finalizers` by an admission plugin.
    implied = {(g, r, "create") for g, r, v in used if v == "patch" and "/" not in r}
    implied.add(("triton-vllm.dev", "llmdeployments/finalizers", "update"))
    assert used - granted == set()
    unused = granted - used - implied
    # Pruning needs more than ten revisions, drift of a name needs somebody else's object, and an Event a plan of memory
    # that is wrong: unit tests.
    assert unused <= {(g, r, "delete") for g, r, _ in granted} | {("", "events", "create")}
