"""What `kubectl llm doctor` looks at. This module does I/O."""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import yaml

from triton_vllm_operator.api import crd, names
from triton_vllm_operator.api.base import Json
from triton_vllm_operator.cli.cluster import ask, create_all, read_items, read_nodes
from triton_vllm_operator.cli.doctor import CrdSeen, Facts, Operator
from triton_vllm_operator.cli.files import Unreadable
from triton_vllm_operator.kube.nodes import find_sliced
from triton_vllm_operator.kube.resources import as_dict, metadata_of, name_of

Found = TypeVar("Found")
_DEFAULT_CLASS: Final = "storageclass.kubernetes.io/is-default-class"

RIGHTS: Final[tuple[tuple[str, str, str], ...]] = (
    (names.GROUP, names.PLURAL, "list watch"),
    (names.GROUP, f"{names.PLURAL}/status", "patch"),
    (names.GROUP, f"{names.PLURAL}/finalizers", "update"),
    ("apps", "deployments", "get list watch create patch delete"),
    ("", "services", "get list watch create patch delete"),
    ("apps", "controllerrevisions", "get list watch create patch delete"),
    ("", "configmaps", "get list watch create patch delete"),
    ("batch", "jobs", "get list watch create patch delete"),
    ("policy", "poddisruptionbudgets", "get list watch create patch delete"),
    ("", "pods", "list watch delete"),
    ("", "pods/log", "get"),
    ("", "events", "list create"),
    ("", "pods/status", "patch"),
)
"""What the chart grants in each namespace: group, resource and verbs."""
OF_THE_CLUSTER: Final = (("", "nodes", "list"), ("resource.k8s.io", "resourceslices", "list"))
"""And where it watches all namespaces."""
OF_SEVERAL: Final = (("coordination.k8s.io", "leases", "get create patch"),)
"""And in its own namespace, where one of several operators leads."""
_VARIABLE: Final = "TRITON_VLLM_OPERATOR_"


def read_facts() -> Facts:
    """What there is; of what may not be seen, nothing.

    Raises:
        Unreadable: there is no cluster, or no kubectl.
    """
    version = as_dict(ask("version").get("serverVersion")).get("gitVersion", "")
    operators = _if_allowed(_read_operators)
    return Facts(
        version=str(version),
        crd=_read_crd(),
        operators=operators,
        nodes=_if_allowed(read_nodes),
        default_storage=_if_allowed(_read_default_storage),
        sliced_nodes=_if_allowed(lambda: find_sliced(read_items("resourceslices.resource.k8s.io"))),
        runtime_classes=_if_allowed(lambda: tuple(map(name_of, read_items("runtimeclasses.node.k8s.io")))),
        rights=(_if_allowed(lambda: _read_rights(operators[0])) or {}) if operators else {},
    )


def _if_allowed(read: Callable[[], Found]) -> Found | None:
    try:
        return read()
    except Unreadable:
        return None


def _read_crd() -> CrdSeen:
    try:
        found = ask("get", "customresourcedefinitions", crd.CRD_NAME)
    except Unreadable as error:
        return CrdSeen.ABSENT if "NotFound" in str(error) else CrdSeen.HIDDEN
    ours = yaml.safe_load(crd.render_crd())
    return CrdSeen.OURS if _schema(found) == _schema(ours) else CrdSeen.OTHER


def _schema(body: Json) -> object:
    versions = as_dict(body.get("spec")).get("versions")
    first = versions[0] if isinstance(versions, list) and versions else {}
    return as_dict(as_dict(as_dict(first).get("schema")).get("openAPIV3Schema")).get("properties")


def _read_operators() -> tuple[Operator, ...]:
    selector = f"{names.LABEL_NAME}={names.MANAGER}"
    return tuple(
        _as_operator(body) for body in read_items("deployments.apps", "--all-namespaces", "--selector", selector)
    )


def _as_operator(body: Json) -> Operator:
    spec, status = as_dict(body.get("spec")), as_dict(body.get("status"))
    pod = as_dict(as_dict(spec.get("template")).get("spec"))
    containers = pod.get("containers")
    first = as_dict(containers[0]) if isinstance(containers, list) and containers else {}
    environment = {str(each.get("name")): str(each.get("value", "")) for each in first.get("env") or ()}
    return Operator(
        namespace=str(metadata_of(body).get("namespace", "")),
        name=name_of(body),
        account=str(pod.get("serviceAccountName", "default")),
        image=str(first.get("image", "")),
        ready=int(status.get("readyReplicas") or 0),
        wanted=int(spec.get("replicas") or 0),
        namespaces=tuple(filter(None, environment.get(f"{_VARIABLE}NAMESPACES", "").split(","))),
        has_lease=f"{_VARIABLE}LEASE" in environment,
    )


def _read_default_storage() -> str:
    classes = read_items("storageclasses.storage.k8s.io")
    marked = (each for each in classes if as_dict(metadata_of(each).get("annotations")).get(_DEFAULT_CLASS) == "true")
    return next((name_of(each) for each in marked), "")


def _read_rights(operator: Operator) -> Mapping[str, bool]:
    """By what it may do, and where if not everywhere."""
    user = f"system:serviceaccount:{operator.namespace}:{operator.account}"
    wanted = [(namespace, right) for namespace in operator.namespaces or (None,) for right in RIGHTS]
    wanted += [] if operator.namespaces else [(None, right) for right in OF_THE_CLUSTER]
    wanted += [(operator.namespace, right) for right in OF_SEVERAL] if operator.has_lease else []
    asked = [
        (namespace, group, resource, verb) for namespace, (group, resource, verbs) in wanted for verb in verbs.split()
    ]
    reviews = [_review(user, operator, *right) for right in asked]
    given = [as_dict(answer.get("status")).get("allowed") is True for answer in create_all(reviews)]
    shown = [f"{verb} {resource}" + (f" in {namespace}" if namespace else "") for namespace, _, resource, verb in asked]
    return dict(zip(shown, given, strict=True))


def _review(user: str, operator: Operator, namespace: str | None, group: str, resource: str, verb: str) -> Json:
    """https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/subject-access-review-v1/."""
    name, _, subresource = resource.partition("/")
    attributes: Json = {"group": group, "resource": name, "verb": verb}
    attributes |= {"subresource": subresource} if subresource else {}
    attributes |= {"namespace": namespace} if namespace else {}
    attributes |= {"name": operator.name} if resource == "leases" else {}
    spec = {"user": user, "resourceAttributes": attributes}
    return {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
