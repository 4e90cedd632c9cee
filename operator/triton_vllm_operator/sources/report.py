"""What the program found, as the container's termination message: small enough for Kubernetes to keep whole."""

from typing import Final

from pydantic import ValidationError

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.sources.task import Value

MESSAGE_LIMIT: Final = 4096
"""Bytes of a termination message that the kubelet keeps."""
_FAULT_TEXT_LIMIT: Final = 1000

EXIT_FAULT: Final = 3
"""Exit code for what trying again does not mend."""
EXIT_TRY_AGAIN: Final = 1


class Fault(Value):
    """Why a source cannot be served."""

    reason: Reason
    message: str


class ModelFacts(Value):
    """What the files of a model, or of an adapter, say of it."""

    architecture: str | None = None
    attention_heads: int | None = None
    max_position_embeddings: int | None = None
    weight_bytes: int | None = None
    lora_rank: int | None = None
    """Of an adapter."""


class SourceReport(Value):
    """One source that was found good."""

    volume: str
    commit: str | None = None
    """That the revision of a repository stands for."""
    facts: ModelFacts | None = None
    """None if nothing was looked at: a format that only the engine reads."""


class Report(Value):
    """All sources, or what is wrong with the first bad one."""

    sources: tuple[SourceReport, ...] = ()
    fault: Fault | None = None

    def dump(self) -> str:
        """As a termination message."""
        return self.model_dump_json(by_alias=True, exclude_none=True)


def fault_report(fault: Fault) -> Report:
    """A report of nothing but what is wrong; its text is cut to fit."""
    return Report(fault=Fault(reason=fault.reason, message=fault.message[:_FAULT_TEXT_LIMIT]))


def parse_report(message: str) -> Report | None:
    """The report in a termination message; None if the container ended before it wrote one."""
    try:
        return Report.model_validate_json(message)
    except ValidationError:
        return None
