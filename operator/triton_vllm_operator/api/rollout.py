"""How the pods of one revision are replaced by those of the next, and how a pod ends."""

from enum import StrEnum
from typing import Final

from pydantic import Field

from triton_vllm_operator.api.base import ApiModel, Int32
from triton_vllm_operator.api.times import TIME_LENGTH

LONGEST_WHY: Final = 512


class RolloutStrategy(StrEnum):
    """Who chooses the way."""

    AUTO = "Auto"
    SURGE = "Surge"
    REPLACE = "Replace"


class RolloutWay(StrEnum):
    """What is done in a step."""

    SURGE = "Surge"
    """A new pod starts beside the old ones; an old one goes once it generates."""
    REPLACE = "Replace"
    """An old pod goes first, and a new one takes its place."""


class OnFailure(StrEnum):
    """What becomes of a revision that never generates."""

    HOLD = "Hold"
    ROLLBACK = "Rollback"


class Rollout(ApiModel):
    """How pods are replaced when the spec changes."""

    strategy: RolloutStrategy = Field(
        RolloutStrategy.AUTO,
        description="Auto starts a new pod beside the old ones where a whole one fits, and else replaces one by one; "
        "Surge and Replace force one of the two.",
    )
    surge_timeout_seconds: int = Field(
        60,
        ge=5,
        le=3600,
        description="With Auto: seconds that a new pod may wait for a node beside the old ones, before one of those "
        "goes.",
    )
    wait_for_idle_seconds: int = Field(
        0,
        ge=0,
        le=3600,
        description="Seconds that the old pod of a single replica may go on serving before it goes; it goes as soon as "
        "it has no request. NVIDIA's backend does not tell its requests, and is not waited for.",
    )
    on_failure: OnFailure = Field(
        OnFailure.HOLD,
        description="What becomes of pods that do not generate within their startup deadline: Hold keeps them, and the "
        "old ones that are left; Rollback goes back to the revision that generated last. The spec stays as it is.",
    )


class RollbackStatus(ApiModel):
    """That another revision runs than the spec asks for."""

    revision: str = Field(max_length=253, description="ControllerRevision of the spec, whose pods did not generate.")
    to: str = Field(max_length=253, description="ControllerRevision that runs instead.")
    reason: str = Field(max_length=64, description="Why, as StartupDeadlineExceeded or HeadsAgainstTp.")
    message: str = Field(max_length=LONGEST_WHY, description="The same in a sentence.")
    time: str = Field(max_length=TIME_LENGTH, description="Since when, in UTC.")
    restarted_at: str | None = Field(
        None,
        max_length=64,
        description="The restart of the Deployment that was the last one then; another tries the spec again.",
    )


class Drain(ApiModel):
    """How a pod ends that is deleted, whoever deletes it."""

    timeout_seconds: int = Field(
        60,
        ge=1,
        le=3600,
        description="Seconds that requests under way may take to end, after the pod has left the Service.",
    )
    grpc_max_connection_age_seconds: int | None = Field(
        None,
        ge=5,
        le=3600,
        description="Seconds after which a gRPC connection takes no new request, so that its client connects anew, to "
        "pods that stay; a pod that goes waits for that long, and a tenth, before it ends. Unset: connections stay.",
    )


class HeldStatus(ApiModel):
    """Why no old pod goes yet."""

    reason: str = Field(max_length=64, description="As PreparingNode or WaitingForIdle.")
    message: str = Field(max_length=LONGEST_WHY, description="The same in a sentence.")
    time: str = Field(max_length=TIME_LENGTH, description="Since when, in UTC.")


class RolloutStatus(ApiModel):
    """The rollout that is under way."""

    revision: str = Field(max_length=253, description="ControllerRevision whose pods are to replace the others.")
    way: RolloutWay = Field(description="How.")
    reason: str = Field(max_length=64, description="Why so, as SurgeFits.")
    message: str = Field(max_length=LONGEST_WHY, description="The same in a sentence, with what was counted.")
    start_seconds: Int32 | None = Field(
        None, description="Seconds that the last start before it took, from the container's to the first answer."
    )
    waiting_since: str | None = Field(
        None, max_length=TIME_LENGTH, description="Since when a new pod waits for a node while no old one goes, in UTC."
    )
    held: HeldStatus | None = Field(None, description="Why no old pod goes yet; unset if one does.")
    since: str | None = Field(
        None,
        max_length=TIME_LENGTH,
        description="Since when nothing holds it back, in UTC; else unset.",
    )
