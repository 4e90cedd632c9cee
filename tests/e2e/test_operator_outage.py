"""Ten minutes without an operator cost no request, and its return changes nothing."""

import json
import time

import pytest

from cluster.kubectl import kubectl
from support.audit import operator_requests, writes
from support.client_pod import run_client
from support.install import RELEASE, SYSTEM_NAMESPACE
from support.llm import apply, container_ids, endpoints_of, make_llm, wait_ready

pytestmark = [pytest.mark.e2e, pytest.mark.full]
NAME = "unattended"
OUTAGE_SECONDS = 600


def scale_operator(replicas: int) -> None:
    kubectl("-n", SYSTEM_NAMESPACE, "scale", "deployment", RELEASE, f"--replicas={replicas}")
    kubectl("-n", SYSTEM_NAMESPACE, "rollout", "status", "deployment", RELEASE, "--timeout=90s")


def test_an_outage_of_ten_minutes_costs_no_request(shared_namespace: str) -> None:
    apply(make_llm(NAME, shared_namespace, probe={}))
    wait_ready(shared_namespace, NAME)
    before = container_ids(shared_namespace, NAME)
    url = f"http://{NAME}.{shared_namespace}.svc:8000/v2/models/{NAME}/generate"
    scale_operator(0)
    try:
        found = json.loads(run_client(shared_namespace, "steady.py", url, str(OUTAGE_SECONDS), seconds=900))
    finally:
        since = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
        scale_operator(1)
    print(f"without an operator for {OUTAGE_SECONDS} s: {found}")
    assert found["errors"] == []
    assert found["answered"] > OUTAGE_SECONDS / 3
    time.sleep(30)
    mine = [request for request in writes(operator_requests(since)) if request.namespace == shared_namespace]
    assert mine == []
    assert container_ids(shared_namespace, NAME) == before
    assert len(endpoints_of(shared_namespace, NAME)) == 1
    kubectl("-n", shared_namespace, "delete", "llm", NAME)
