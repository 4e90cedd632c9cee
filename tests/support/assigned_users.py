"""What OpenShift's restricted-v2 does to the pods of a namespace, as admission policies: it assigns users."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from cluster.errors import ClusterError
from cluster.kubectl import kubectl, wait_until

FIRST: Final = 1000680000
_LAST: Final = FIRST + 9999
_NAME: Final = "assigned-users"
_RANGE: Final = f"must be in the ranges: [{FIRST}, {_LAST}]"
_API: Final = "admissionregistration.k8s.io/v1"


@contextmanager
def users_assigned(namespace: str) -> Iterator[None]:
    """Pods of the namespace get the first user of the range, and none outside it is admitted."""
    manifests = _manifests(namespace)
    for manifest in manifests:
        kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    try:
        # The API server takes them up after some seconds.
        wait_until("users are assigned", 60, lambda: _assigned(namespace, None) == str(FIRST), every=0.5)
        wait_until("other users are refused", 60, lambda: "ranges" in _assigned(namespace, 1000), every=0.5)
        yield
    finally:
        for manifest in manifests:
            kubectl("delete", manifest["kind"], _NAME, "--ignore-not-found")


def _assigned(namespace: str, user: int | None) -> str:
    """The user that a pod would get, or why there would be none."""
    security = {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
        **({"runAsUser": user} if user else {}),
    }
    locked = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    spec = {"securityContext": security, "containers": [{"name": "a", "image": "a", "securityContext": locked}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tried", "namespace": namespace}, "spec": spec}
    path = "jsonpath={.spec.securityContext.runAsUser}"
    try:
        return kubectl("create", "--dry-run=server", "-o", path, "-f", "-", stdin=json.dumps(pod))
    except ClusterError as error:
        return str(error)


def _manifests(namespace: str) -> list[dict[str, Any]]:
    pods = {
        "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]
    }
    chosen = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    context = "object.spec.?securityContext"
    assign = (
        "Object{spec: Object.spec{securityContext: Object.spec.securityContext{"
        f"runAsUser: {context}.runAsUser.orValue({FIRST}), fsGroup: {context}.fsGroup.orValue({FIRST})"
        "}}}"
    )
    check = f"{context}.%s.orValue({FIRST}) >= {FIRST} && {context}.%s.orValue({FIRST}) <= {_LAST}"
    refusals = [
        {
            "expression": check % (field, field),
            "message": f"unable to validate against any security context constraint: .spec.{field}: {_RANGE}",
        }
        for field in ("runAsUser", "fsGroup")
    ]
    metadata = {"name": _NAME}
    return [
        {
            "apiVersion": _API,
            "kind": "MutatingAdmissionPolicy",
            "metadata": metadata,
            "spec": {
                "failurePolicy": "Fail",
                "reinvocationPolicy": "Never",
                "matchConstraints": pods,
                "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": assign}}],
            },
        },
        {
            "apiVersion": _API,
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": metadata,
            "spec": {"policyName": _NAME, "matchResources": chosen},
        },
        {
            "apiVersion": _API,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": metadata,
            "spec": {"failurePolicy": "Fail", "matchConstraints": pods, "validations": refusals},
        },
        {
            "apiVersion": _API,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": metadata,
            "spec": {"policyName": _NAME, "validationActions": ["Deny"], "matchResources": chosen},
        },
    ]
