"""The parts of core Kubernetes that a user sets on the serving pods."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field
from pydantic.config import JsonDict

from triton_vllm_operator.api.base import (
    LIST_MAP_KEYS,
    LIST_TYPE,
    ApiModel,
    Int32,
    Json,
    LabelKey,
    LabelValue,
    ObjectName,
    Quantity,
    rule,
)

ATOMIC: JsonDict = {LIST_TYPE: "atomic"}

_WITHOUT_GPUS = (
    "takes cpu, memory and ephemeral-storage; the GPU count follows from engine.tensorParallelSize x "
    "engine.pipelineParallelSize, its name from accelerator.nvidiaGPU"
)

ResourceMap = Annotated[dict[str, Quantity], Field(max_length=16)]


class TolerationOperator(StrEnum):
    """How a toleration compares its key with a taint."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    """What a taint does to a pod that does not tolerate it."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(ApiModel):
    """A taint that the serving pods tolerate."""

    key: LabelKey | None = Field(None, description="Key of the taint; unset with operator Exists matches all.")
    operator: TolerationOperator | None = Field(None, description="Exists or Equal (the default).")
    value: LabelValue | None = Field(None, description="Value of the taint, with operator Equal.")
    effect: TaintEffect | None = Field(None, description="Effect of the taint; unset matches all effects.")
    toleration_seconds: Int32 | None = Field(None, description="Seconds for which NoExecute is tolerated.")


class LabelSelectorOperator(StrEnum):
    """How a label selector's expression compares."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class LabelSelectorRequirement(ApiModel):
    """One expression of a label selector."""

    key: LabelKey = Field(description="Key of the label.")
    operator: LabelSelectorOperator = Field(description="In, NotIn, Exists or DoesNotExist.")
    values: tuple[LabelValue, ...] | None = Field(
        None, max_length=32, description="Values for In and NotIn.", json_schema_extra=ATOMIC
    )


class LabelSelector(ApiModel):
    """A label selector over pods."""

    match_labels: dict[str, LabelValue] | None = Field(None, max_length=32, description="Labels that must be equal.")
    match_expressions: tuple[LabelSelectorRequirement, ...] | None = Field(
        None, max_length=16, description="Expressions that must all hold.", json_schema_extra=ATOMIC
    )


class WhenUnsatisfiable(StrEnum):
    """What the scheduler does when a spread cannot be kept."""

    DO_NOT_SCHEDULE = "DoNotSchedule"
    SCHEDULE_ANYWAY = "ScheduleAnyway"


class TopologySpreadConstraint(ApiModel):
    """How the serving pods spread over nodes or zones."""

    max_skew: int = Field(ge=1, le=1000, description="Largest allowed difference in pods between two domains.")
    topology_key: LabelKey = Field(description="Node label that names a domain, as topology.kubernetes.io/zone.")
    when_unsatisfiable: WhenUnsatisfiable = Field(description="DoNotSchedule or ScheduleAnyway.")
    label_selector: LabelSelector | None = Field(
        None, description="Which pods count; unset means the pods of this LLMDeployment."
    )


class LocalObjectReference(ApiModel):
    """A Secret of the same namespace, by name."""

    name: ObjectName = Field(description="Name of the object.")


class Affinity(ApiModel):
    """Core Kubernetes affinity, passed to the pod as it is; the API server checks it there."""

    node_affinity: Json | None = Field(None, description="As in the core API.")
    pod_affinity: Json | None = Field(None, description="As in the core API.")
    pod_anti_affinity: Json | None = Field(None, description="As in the core API.")


class Scheduling(ApiModel):
    """Where the serving pods may run."""

    node_selector: dict[str, LabelValue] | None = Field(
        None, max_length=32, description="Labels that a node must carry."
    )
    tolerations: tuple[Toleration, ...] | None = Field(
        None, max_length=32, description="Taints that the pods tolerate.", json_schema_extra=ATOMIC
    )
    affinity: Affinity | None = Field(None, description="Core Kubernetes affinity.")
    scheduler_name: ObjectName | None = Field(
        None, description="Scheduler that places the pods, as kai-scheduler; unset: the cluster's own."
    )
    priority_class_name: ObjectName | None = Field(None, description="PriorityClass of the pods.")
    topology_spread_constraints: tuple[TopologySpreadConstraint, ...] | None = Field(
        None, max_length=8, description="How the pods spread over domains.", json_schema_extra=ATOMIC
    )
    runtime_class_name: ObjectName | None = Field(None, description="RuntimeClass of the pods, as nvidia.")
    image_pull_secrets: tuple[LocalObjectReference, ...] | None = Field(
        None,
        max_length=8,
        description="Secrets of this namespace with which images are pulled; the operator never reads them.",
        json_schema_extra={LIST_TYPE: "map", LIST_MAP_KEYS: ["name"]},
    )


class Resources(ApiModel):
    """CPU and memory of one serving pod. GPUs follow from the engine, they are not asked for here."""

    requests: ResourceMap | None = Field(None, description="What the scheduler sets aside.")
    limits: ResourceMap | None = Field(None, description="What the container may not exceed.")

    @rule("!has(self.requests) || self.requests.all(k, !k.contains('/'))", f"requests {_WITHOUT_GPUS}")
    def _requests_name_no_gpu(self) -> bool:
        return not any("/" in name for name in self.requests or {})

    @rule("!has(self.limits) || self.limits.all(k, !k.contains('/'))", f"limits {_WITHOUT_GPUS}")
    def _limits_name_no_gpu(self) -> bool:
        return not any("/" in name for name in self.limits or {})
