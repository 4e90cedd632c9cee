"""What is done about a pod that generated and is dead."""

from enum import StrEnum

from pydantic import Field

from triton_vllm_operator.api.base import LIST_TYPE, ApiModel


class RecoveryPolicy(StrEnum):
    """What is done about it."""

    REPLACE = "Replace"
    REPORT = "Report"


class Recovery(ApiModel):
    """What is done about a pod that generated and whose engine is dead, or gives no sign of life."""

    policy: RecoveryPolicy = Field(
        RecoveryPolicy.REPLACE,
        description="Replace deletes such a pod, so that another one starts; Report says what is wrong.",
    )
    max_per_hour: int = Field(4, ge=1, le=60, description="Pods that are replaced within an hour at most.")


MOST_REPLACED = 60


class ReplacedPod(ApiModel):
    """A pod that was replaced."""

    name: str = Field(max_length=253, description="Of the pod.")
    uid: str = Field(max_length=64, description="Of the pod.")
    reason: str = Field(max_length=64, description="Why: EngineDead or GenerateTimedOut.")
    message: str = Field(max_length=512, description="What its engine said last, or what was found.")
    time: str = Field(max_length=20, description="When it was replaced, in UTC.")


class RecoveryStatus(ApiModel):
    """Pods that were replaced."""

    replaced: tuple[ReplacedPod, ...] | None = Field(
        None,
        max_length=MOST_REPLACED,
        description="Within an hour before the last of them, oldest first.",
        json_schema_extra={LIST_TYPE: "atomic"},
    )
    recovered_time: str | None = Field(None, max_length=20, description="When all pods generated again, in UTC.")
