"""What the operator reports: the status of an LLMDeployment."""

from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import Field

from triton_vllm_operator.api.base import GENERATION_LIMIT, LIST_MAP_KEYS, LIST_TYPE, ApiModel, Int32
from triton_vllm_operator.api.reasons import ConditionType, Reason
from triton_vllm_operator.api.recovery import RecoveryStatus
from triton_vllm_operator.api.rollout import RollbackStatus, RolloutStatus
from triton_vllm_operator.api.stopped import StoppedStatus
from triton_vllm_operator.api.timeline import Timeline

NOT_OBSERVED: Final = -1
"""The generation of a status that nobody has written yet: tools that follow kstatus then wait."""


class ConditionStatus(StrEnum):
    """True, False or Unknown."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(ApiModel):
    """One observation about an LLMDeployment, in the form of metav1.Condition."""

    type: str = Field(
        min_length=1,
        max_length=316,
        description="Accepted, MemoryFits, Available, Progressing, Ready, Degraded or Stalled.",
    )
    status: ConditionStatus = Field(description="True, False or Unknown.")
    observed_generation: int = Field(
        ge=0, le=GENERATION_LIMIT, description="metadata.generation that this was seen for."
    )
    last_transition_time: str = Field(
        max_length=32, description="When status last changed.", json_schema_extra={"format": "date-time"}
    )
    reason: str = Field(
        min_length=1, max_length=128, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", description="One word."
    )
    message: str = Field(max_length=2048, description="One sentence for people.")


class RunningEngine(ApiModel):
    """What the engine of the current revision says of itself at its start; empty if its log does not hold it."""

    vllm_version: str | None = Field(None, max_length=64, description="As the engine names itself.")
    max_model_len: Int32 | None = Field(
        None, description="Longest sequence in tokens, also where the engine chose it (Auto)."
    )
    differences: tuple[Annotated[str, Field(max_length=256)], ...] | None = Field(
        None,
        max_length=16,
        description="Where engine or server run otherwise than was rendered.",
        json_schema_extra={LIST_TYPE: "atomic"},
    )


class EngineStatus(ApiModel):
    """What the engine is started with, where the spec leaves it to the version."""

    vllm_version: str = Field(min_length=1, max_length=64, description="vLLM inside the runtime, as 0.27.1.")
    gpu_memory_utilization: float | None = Field(
        None, gt=0, le=1, description="As the spec sets it, or else this version's default; unset on a CPU."
    )
    running: RunningEngine | None = Field(None, description="What the engine says of itself, once a pod serves.")


class ModelStatus(ApiModel):
    """What was found out about the model before its pods were made."""

    commit: str | None = Field(
        None, max_length=64, description="Commit that spec.model.huggingFace.revision stood for."
    )
    architecture: str | None = Field(None, max_length=128, description="As config.json names it.")
    weight_bytes: int | None = Field(None, ge=0, le=GENERATION_LIMIT, description="Size of the weights in bytes.")


def _bytes_of(what: str) -> Any:
    return Field(None, ge=0, le=GENERATION_LIMIT, description=f"Bytes {what}.")


class MeasuredMemory(ApiModel):
    """What an engine of the current revision said in its log that it allocated; of several ranks, on the fullest."""

    weights_bytes: int | None = _bytes_of("of weights on one GPU")
    kv_cache_bytes: int | None = _bytes_of("of the KV cache on one GPU")
    kv_cache_tokens: int | None = Field(
        None, ge=0, le=GENERATION_LIMIT, description="Tokens that the KV cache holds, as the engine counts them."
    )
    max_concurrency: str | None = Field(
        None, max_length=24, description="Sequences of the greatest length that the KV cache holds at once, as 58.11."
    )
    graph_bytes: int | None = _bytes_of("of CUDA graphs on one GPU")
    suggested_kv_cache_bytes: int | None = _bytes_of(
        "that the engine suggests for engine.kvCacheMemoryBytes: its share of the GPU would be full"
    )
    attention_backend: str | None = Field(None, max_length=64, description="As vLLM calls it.")
    load_seconds: Int32 | None = Field(None, description="Seconds to load the weights.")
    compile_seconds: Int32 | None = Field(None, description="Seconds to compile the model.")
    capture_seconds: Int32 | None = Field(None, description="Seconds to capture CUDA graphs.")
    start_seconds: Int32 | None = Field(
        None, description="Seconds from the loaded weights to an engine that serves, compilation included."
    )


class Amount(ApiModel):
    """A number that is known within bounds."""

    low: int = Field(ge=0, le=GENERATION_LIMIT, description="At least.")
    expected: int = Field(ge=0, le=GENERATION_LIMIT, description="As expected.")
    high: int = Field(ge=0, le=GENERATION_LIMIT, description="At most.")


class PredictedMemory(ApiModel):
    """What the operator computed before the start, for that of the admitted GPUs with the least room."""

    gpu: str = Field(max_length=128, description="The GPU, as its node names it, or CPU.")
    runner: str = Field(max_length=16, description="Which of vLLM's model runners the version takes: V1 or V2.")
    weights_bytes: int | None = _bytes_of("of weights on one GPU")
    kv_bytes_per_token: int | None = _bytes_of("of one token in the KV cache of one GPU")
    kv_cache_bytes: Amount = Field(description="Bytes of the KV cache on one GPU.")
    kv_cache_tokens: Amount = Field(description="Tokens that the KV cache holds, as the engine will count them.")
    gpu_kinds: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Kinds of GPUs that the pods may get; only of one is it known what was measured.",
    )
    correction_bytes: int | None = Field(
        None,
        ge=-GENERATION_LIMIT,
        le=GENERATION_LIMIT,
        description="By how much the KV cache is expected larger than computed, since that of the engine before was.",
    )
    edition: int | None = Field(
        None, ge=0, le=10_000, description="Of the operator's sums: what was learnt from others corrects nothing."
    )


class PlanResult(StrEnum):
    """What became of a plan."""

    MET = "Met"
    MISSED = "Missed"


class PlanErrors(ApiModel):
    """By how much the plan was off, in per cent of what was measured: 1.2 is too much, -1.2 too little."""

    weights_percent: str | None = Field(None, max_length=16, description="Of the weights.")
    kv_cache_tokens_percent: str | None = Field(None, max_length=16, description="Of the tokens of the KV cache.")
    result: PlanResult | None = Field(
        None, description="Met if the tokens lie between the plan's low and high, Missed if not."
    )


MOST_MEASURED: Final = 16
MOST_GENERATED: Final = 5
PodName = Annotated[str, Field(max_length=253)]
RevisionName = Annotated[str, Field(max_length=253)]


class MemoryStatus(ApiModel):
    """The memory of an engine."""

    predicted: PredictedMemory | None = Field(None, description="What it was expected to take.")
    measured: MeasuredMemory | None = Field(None, description="What engines allocated, once they serve.")
    errors: PlanErrors | None = Field(None, description="By how much the first differs from the second.")
    measured_pods: tuple[PodName, ...] | None = Field(
        None,
        max_length=MOST_MEASURED,
        description="Pods whose logs were read, each once; the one with the smallest cache counts.",
        json_schema_extra={LIST_TYPE: "atomic"},
    )


class LLMDeploymentStatus(ApiModel):
    """What the operator last saw."""

    conditions: tuple[Condition, ...] | None = Field(
        None,
        max_length=16,
        description="Accepted, MemoryFits, Available, Progressing, Ready, Degraded and Stalled.",
        json_schema_extra={LIST_TYPE: "map", LIST_MAP_KEYS: ["type"]},
    )
    observed_generation: int | None = Field(
        None,
        ge=NOT_OBSERVED,
        le=GENERATION_LIMIT,
        description="metadata.generation that this status speaks of; -1 until the operator has seen it.",
    )
    url: str | None = Field(None, max_length=512, description="Where the model answers inside the cluster.")
    revision: str | None = Field(None, max_length=253, description="ControllerRevision that the children come from.")
    engine: EngineStatus | None = Field(None, description="What the engine is started with.")
    model: ModelStatus | None = Field(None, description="What was found out about the model before its pods were made.")
    memory_plan: MemoryStatus | None = Field(None, description="What of memory the engine takes.")
    recovery: RecoveryStatus | None = Field(None, description="Pods that were replaced since their engines were dead.")
    rollout: RolloutStatus | None = Field(None, description="How pods are being replaced, while they are.")
    generated: str | None = Field(
        None, max_length=253, description="ControllerRevision of which a pod generated last: the last good one."
    )
    generated_before: tuple[RevisionName, ...] | None = Field(
        None,
        max_length=MOST_GENERATED,
        description="ControllerRevisions of which pods generated before that one, the last first.",
        json_schema_extra={LIST_TYPE: "atomic"},
    )
    rollback: RollbackStatus | None = Field(None, description="Why another revision runs than the spec asks for.")
    stopped: StoppedStatus | None = Field(None, description="Why no pod is kept, if none is.")
    timeline: Timeline | None = Field(None, description="How long each step took until the spec generated.")
    replicas: Int32 | None = Field(None, description="Pods that exist and are not being deleted.")
    ready_replicas: Int32 | None = Field(None, description="Pods that generate, also those of an earlier revision.")
    selector: str | None = Field(None, max_length=512, description="Label selector of the pods, for /scale.")

    def condition(self, kind: ConditionType) -> Condition | None:
        """The condition of that type, if it was ever set."""
        return next((c for c in self.conditions or () if c.type == kind), None)


MESSAGE_LIMIT = 1024


_LONGEST_WORD: Final = 40


def shorten(message: str, limit: int = MESSAGE_LIMIT) -> str:
    """One line of at most `limit` characters, without any that would do something to a terminal."""
    line = "".join(character for character in " ".join(message.split()) if character.isprintable())
    if len(line) <= limit:
        return line
    head, _, tail = (cut := line[: limit - 3]).rpartition(" ")
    # What holds no space for long is no word.
    return (head if head and len(tail) <= _LONGEST_WORD else cut) + "..."


__all__ = [
    "Condition",
    "ConditionStatus",
    "ConditionType",
    "LLMDeploymentStatus",
    "Reason",
    "shorten",
]
