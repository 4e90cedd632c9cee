"""What is done about a pod that generated and is dead."""

from enum import StrEnum
from typing import Final

from pydantic import Field

from triton_vllm_operator.api.base import LIST_TYPE, ApiModel
from triton_vllm_operator.api.times import TIME_LENGTH

MOST_REPLACED: Final = 60
"""Pods within an hour."""
LONGEST_MESSAGE: Final = 512


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
    max_per_hour: int = Field(4, ge=1, le=MOST_REPLACED, description="Pods that are replaced within an hour at most.")


class ReplacedPod(ApiModel):
    """A pod that was replaced."""

    name: str = Field(max_length=253, description="Of the pod.")
    uid: str = Field(max_length=64, description="Of the pod.")
    reason: str = Field(max_length=64, description="Why: EngineDead or GenerateTimedOut.")
    message: str = Field(max_length=LONGEST_MESSAGE, description="What its engine said last, or what was found.")
    time: str = Field(max_length=TIME_LENGTH, description="When it was replaced, in UTC.")


class RecoveryStatus(ApiModel):
    """Pods that were replaced."""

    replaced: tuple[ReplacedPod, ...] | None = Field(
        None,
        max_length=MOST_REPLACED,
        description="Within an hour before the last of them, oldest first.",
        json_schema_extra={LIST_TYPE: "atomic"},
    )
    recovered_time: str | None = Field(
        None, max_length=TIME_LENGTH, description="When all pods generated again, in UTC."
    )
