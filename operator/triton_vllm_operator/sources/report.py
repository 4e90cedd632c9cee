"""What the program found, as the container's termination message: small enough for Kubernetes to keep whole."""

from typing import Final

from pydantic import ConfigDict, Field, ValidationError

from triton_vllm_operator.api.hub_names import COMMIT_PATTERN
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.sources.task import Value

_FAULT_TEXT_LIMIT: Final = 800
"""Characters, of up to four bytes; the kubelet keeps 4096 bytes of a termination message."""

EXIT_FAULT: Final = 3
"""Exit code for what trying again does not mend."""
EXIT_TRY_AGAIN: Final = 1


class Said(Value):
    """What the program says: a newer one may say more."""

    model_config = ConfigDict(extra="ignore")


class Fault(Said):
    """Why a source cannot be served."""

    reason: Reason
    message: str
    volume: str | None = None
    """Of the source; None if nothing is said of one."""


class ModelFacts(Said):
    """What the files of a model, or of an adapter, say of it."""

    architecture: str | None = Field(None, max_length=128)
    attention_heads: int | None = None
    max_position_embeddings: int | None = None
    weight_bytes: int | None = Field(None, ge=0, lt=2**53)
    lora_rank: int | None = None
    """Of an adapter."""
    quantization: str | None = Field(None, max_length=64)
    """How config.json says that the weights are quantised."""
    warning: str | None = Field(None, max_length=400)
    """What only the engine can tell, and should be known if it does not start."""


class SourceReport(Said):
    """One source that was found good."""

    volume: str
    commit: str | None = Field(None, pattern=COMMIT_PATTERN)
    """That the revision of a repository stands for."""
    facts: ModelFacts | None = None
    """None if nothing was looked at: a format that only the engine reads."""


class Report(Said):
    """All sources, or what is wrong with the first bad one."""

    sources: tuple[SourceReport, ...] = ()
    fault: Fault | None = None

    def dump(self) -> str:
        """As a termination message."""
        return self.model_dump_json(by_alias=True, exclude_none=True)


def fault_report(fault: Fault) -> Report:
    """A report of nothing but what is wrong; its text is cut to fit."""
    printable = "".join(character if character.isprintable() else " " for character in fault.message)
    return Report(fault=fault.model_copy(update={"message": printable[:_FAULT_TEXT_LIMIT]}))


def parse_report(message: str) -> Report | None:
    """The report in a termination message; None if the container ended before it wrote one."""
    try:
        return Report.model_validate_json(message)
    except ValidationError:
        return None
