"""The kinds of objects that the operator touches, and their paths."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from triton_vllm_operator.api import names
from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.times import parse_time


class Key(NamedTuple):
    """Namespace and name of an LLMDeployment."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Kind:
    """A resource of the API server."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        """The value of apiVersion."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path; no namespace means all namespaces."""
        parts = ["/apis" if self.group else "/api", self.api_version]
        parts += ["namespaces", namespace] if namespace else []
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/".join(parts)


LLM_DEPLOYMENT: Final = Kind(names.GROUP, names.VERSION, names.PLURAL, names.KIND)
DEPLOYMENT: Final = Kind("apps", "v1", "deployments", "Deployment")
REVISION: Final = Kind("apps", "v1", "controllerrevisions", "ControllerRevision")
SERVICE: Final = Kind("", "v1", "services", "Service")
CONFIG_MAP: Final = Kind("", "v1", "configmaps", "ConfigMap")
JOB: Final = Kind("batch", "v1", "jobs", "Job")
POD: Final = Kind("", "v1", "pods", "Pod")
DISRUPTION_BUDGET: Final = Kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
EVENT: Final = Kind("", "v1", "events", "Event")
NODE: Final = Kind("", "v1", "nodes", "Node")
LEASE: Final = Kind("coordination.k8s.io", "v1", "leases", "Lease")
RESOURCE_SLICE: Final = Kind("resource.k8s.io", "v1", "resourceslices", "ResourceSlice")

CHILDREN: Final = (CONFIG_MAP, DEPLOYMENT, SERVICE, REVISION, JOB, DISRUPTION_BUDGET)
WATCHED: Final = (LLM_DEPLOYMENT, *CHILDREN, POD)

_BY_NAME: Final = {kind.kind: kind for kind in (*WATCHED, LEASE)}


def kind_of(manifest: Json) -> Kind:
    """The kind of a manifest that the operator built."""
    return _BY_NAME[str(manifest["kind"])]


def is_paused(body: Json) -> bool:
    """Whether the owner of an LLMDeployment wants nothing of it to be changed."""
    return str(as_dict(metadata_of(body).get("annotations")).get(names.ANNOTATION_PAUSED, "false")) != "false"


def metadata_of(body: Json) -> Json:
    """The metadata of an object."""
    metadata = body.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def as_dict(value: Any) -> dict[str, Any]:
    """An object of the API; empty for all else."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[dict[str, Any]]:
    """The objects of a list of the API; none of all else."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def name_of(body: Json) -> str:
    """The name of an object."""
    return str(metadata_of(body).get("name", ""))


def time_of(value: Any) -> datetime | None:
    """A time of the API; None for all else."""
    return parse_time(value) if isinstance(value, str) else None


@dataclass(frozen=True, slots=True)
class ObjectCondition:
    """A condition of an object's status that is True."""

    message: str
    since: datetime | None
    reason: str = ""


def true_condition(body: Json, kind: str) -> ObjectCondition | None:
    """The condition of that type, if it is True."""
    status = body.get("status")
    conditions = status.get("conditions") if isinstance(status, dict) else None
    for condition in conditions or ():
        if condition.get("type") == kind and condition.get("status") == "True":
            since = condition.get("lastTransitionTime")
            return ObjectCondition(str(condition.get("message", "")), time_of(since), str(condition.get("reason", "")))
    return None


def creation_time(body: Json) -> datetime | None:
    """When an object was made."""
    return time_of(metadata_of(body).get("creationTimestamp"))


def start_time(body: Json) -> datetime | None:
    """When the controller of an object first worked on it."""
    status = body.get("status")
    text = status.get("startTime") if isinstance(status, dict) else None
    return time_of(text)


def controller_of(body: Json) -> Json:
    """The reference to the object that controls this one; empty if there is none."""
    references = metadata_of(body).get("ownerReferences")
    for reference in references if isinstance(references, list) else []:
        if reference.get("controller"):
            found: Json = reference
            return found
    return {}


def controller_uid(body: Json) -> str | None:
    """The uid of the object that controls this one."""
    uid = controller_of(body).get("uid")
    return None if uid is None else str(uid)
