"""Namespaces with rules, as administrators make them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from cluster.kubectl import kubectl, kubectl_json, wait_until


def resource_quota(**hard: str) -> dict[str, Any]:
    """A ResourceQuota; `__` in a name stands for a dot, `_` for a dash."""
    limits = {name.replace("__", ".").replace("_", "-"): value for name, value in hard.items()}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "team"}, "spec": {"hard": limits}}


def limit_range(**limits: dict[str, str]) -> dict[str, Any]:
    """A LimitRange for containers."""
    spec = {"limits": [{"type": "Container", **limits}]}
    return {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "team"}, "spec": spec}


@contextmanager
def ruled_namespace(*rules: dict[str, Any]) -> Iterator[str]:
    """A namespace with Pod Security at its strictest and these rules, all of them in force."""
    name = f"e2e-{uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    try:
        kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
        for rule in rules:
            kubectl("-n", name, "apply", "-f", "-", stdin=json.dumps(rule))
        wait_until(f"the rules of {name} are in force", 60, lambda: _is_in_force(name), every=0.2)
        yield name
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


def _is_in_force(namespace: str) -> bool:
    """A quota counts from when its controller has counted first."""
    quotas = kubectl_json("-n", namespace, "get", "resourcequotas")["items"]
    return all("hard" in quota.get("status", {}) for quota in quotas)
