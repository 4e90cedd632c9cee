"""What people hang on the pods and the Service: environment, labels, annotations, the resources of the fetch."""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from triton_vllm_operator.api import names
from triton_vllm_operator.api.base import LABEL_KEY, LABEL_KEY_LIMIT, ApiModel, Form, LabelValue, cel_text, rule
from triton_vllm_operator.api.scheduling import Resources

OWN_LABELS: Final = (names.LABEL_NAME, names.LABEL_INSTANCE, names.LABEL_MANAGED_BY)
"""Labels by which children and pods are found; the whole group of this API is the operator's too."""

# Annotations by which a node, or an agent on it, gives a pod rights that its spec does not show.
_POWERFUL: Final = (
    "container.apparmor.security.beta.kubernetes.io/",
    "container.seccomp.security.alpha.kubernetes.io/",
    "seccomp.security.alpha.kubernetes.io/",
    "io.kubernetes.cri-o.",
    "io.katacontainers.",
    "iam.amazonaws.com/",
)

AnnotationValue = Annotated[str, Field(max_length=8192)]
VariableName = Annotated[
    str,
    Field(min_length=1, max_length=256),
    Form("^[A-Za-z_][A-Za-z0-9_]*$", 'a name of a variable has letters, digits and "_", and begins with no digit'),
]


class EnvVariable(ApiModel):
    """One environment variable of the serving container."""

    name: VariableName = Field(description="Name, as NCCL_P2P_DISABLE.")
    value: str = Field(max_length=4096, description='Value, as text: "1".')


def _keys_rule(member: str) -> str:
    fits = f"k.size() <= {LABEL_KEY_LIMIT} && k.matches({cel_text(LABEL_KEY.pattern)})"
    return f"!has(self.{member}) || self.{member}.all(k, {fits})"


def _own_rule(member: str) -> str:
    own = ", ".join(f"'{label}'" for label in OWN_LABELS)
    return f"!has(self.{member}) || self.{member}.all(k, !(k in [{own}]) && !k.startsWith('{names.GROUP}/'))"


def _are_keys(keys: dict[str, str] | None) -> bool:
    return all(len(key) <= LABEL_KEY_LIMIT and LABEL_KEY.fits(key) for key in keys or {})


def _are_not_ours(keys: dict[str, str] | None) -> bool:
    return not any(key in OWN_LABELS or key.startswith(f"{names.GROUP}/") for key in keys or {})


class Marks(ApiModel):
    """Labels and annotations."""

    labels: dict[str, LabelValue] | None = Field(None, max_length=32, description="Labels, beside the operator's own.")
    annotations: dict[str, AnnotationValue] | None = Field(
        None, max_length=32, description="Annotations, beside the operator's own."
    )

    @rule(_keys_rule("labels"), f"labels: {LABEL_KEY.message}")
    def _labels_have_keys(self) -> bool:
        return _are_keys(self.labels)

    @rule(_keys_rule("annotations"), f"annotations: {LABEL_KEY.message}")
    def _annotations_have_keys(self) -> bool:
        return _are_keys(self.annotations)

    @rule(
        _own_rule("labels"),
        f"labels: {', '.join(OWN_LABELS)} and {names.GROUP}/... are the operator's own: it finds its pods by them",
    )
    def _labels_are_not_ours(self) -> bool:
        return _are_not_ours(self.labels)

    @rule(
        _own_rule("annotations"),
        f"annotations: {', '.join(OWN_LABELS)} and {names.GROUP}/... are the operator's own",
    )
    def _annotations_are_not_ours(self) -> bool:
        return _are_not_ours(self.annotations)


class PodMetadata(Marks):
    """Labels and annotations of every pod of this LLMDeployment, those that fetch its model too."""

    @rule(
        "!has(self.annotations) || self.annotations.all(k, "
        + " && ".join(f"!k.startsWith('{prefix}')" for prefix in _POWERFUL)
        + ")",
        f"annotations: those under {', '.join(_POWERFUL)} give a pod rights on its node or in a cloud, and are for "
        "administrators; a cloud identity hangs on spec.serviceAccountName",
    )
    def _annotations_give_no_rights(self) -> bool:
        return not any(key.startswith(_POWERFUL) for key in self.annotations or {})


class ServiceType(StrEnum):
    """How the Service is reached."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"
    HEADLESS = "Headless"
    """No address of its own: its name resolves to the pods that generate."""


class ServiceSettings(Marks):
    """The Service in front of the serving pods."""

    type: ServiceType | None = Field(
        None,
        description="ClusterIP (the default), NodePort, LoadBalancer, or Headless: the name resolves to the pods. "
        "Nothing in front of the model asks for a key.",
    )


class Fetch(ApiModel):
    """The Job that looks up the model and fetches it to a volume."""

    resources: Resources | None = Field(
        None,
        description="CPU, memory and ephemeral storage of its pod; unset: requests and limits that a strict namespace "
        "takes. A pod that fetches into itself has spec.resources.",
    )
