"""How long each step took from a spec to its first generated token."""

from enum import StrEnum
from typing import Final

from pydantic import Field

from triton_vllm_operator.api.base import GENERATION_LIMIT, LIST_MAP_KEYS, LIST_TYPE, ApiModel
from triton_vllm_operator.api.times import TIME_LENGTH

_LONGEST: Final = 10**9
_MOST_STEPS: Final = 16


class StepName(StrEnum):
    """The steps, in their order."""

    ACCEPTED = "Accepted"
    INSPECTED = "Inspected"
    """A pod without a GPU looked into the model."""
    FETCHED = "Fetched"
    """The model was fetched, or looked up, on a hub."""
    SCHEDULED = "Scheduled"
    IMAGE_PULLED = "ImagePulled"
    """And the container started."""
    LOADED = "Loaded"
    """Until the server called the model ready: weights, compilation, graphs."""
    COMPILED = "Compiled"
    """Within Loaded, as the engine measured it."""
    GENERATED = "Generated"
    """And warmed up."""


class Step(ApiModel):
    """One step; what is not over has no end."""

    name: StepName = Field(description="Which.")
    start_time: str | None = Field(None, max_length=TIME_LENGTH, description="When it began, in UTC.")
    end_time: str | None = Field(None, max_length=TIME_LENGTH, description="When it was done, in UTC.")
    seconds: int | None = Field(None, ge=0, le=_LONGEST, description="How long it took.")
    total_bytes: int | None = Field(
        None, ge=0, le=GENERATION_LIMIT, description="Bytes of the weights that were fetched or looked into."
    )
    bytes_per_second: int | None = Field(None, ge=0, le=GENERATION_LIMIT, description="Of weights that were fetched.")


class Timeline(ApiModel):
    """From a spec to the first generated token of the first pod of its revision."""

    generation: int = Field(ge=0, le=GENERATION_LIMIT, description="metadata.generation with which it began.")
    revision: str | None = Field(None, max_length=253, description="ControllerRevision that came of it.")
    pod: str | None = Field(None, max_length=253, description="The pod of which the steps from Scheduled on are told.")
    steps: tuple[Step, ...] | None = Field(
        None,
        max_length=_MOST_STEPS,
        description="In their order; Compiled is a part of Loaded.",
        json_schema_extra={LIST_TYPE: "map", LIST_MAP_KEYS: ["name"]},
    )

    last_start_seconds: int | None = Field(
        None,
        ge=0,
        le=_LONGEST,
        description="Seconds that the start before this one took.",
    )

    def step(self, name: StepName) -> Step | None:
        """One of them, if it was begun."""
        return next((step for step in self.steps or () if step.name is name), None)

    @property
    def start_seconds(self) -> int | None:
        """How long the start took, once the pod had its image and its weights; before it is over, the one before."""
        found = [self.step(name) for name in (StepName.LOADED, StepName.GENERATED)]
        seconds = [step.seconds for step in found if step is not None and step.seconds is not None]
        return sum(seconds) if len(seconds) == len(found) else self.last_start_seconds
