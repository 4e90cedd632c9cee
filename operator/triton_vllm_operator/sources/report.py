"""What the program found, as the container's termination message: small enough for Kubernetes to keep whole."""

from collections.abc import Iterable, Mapping
from typing import Final

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, field_validator

from triton_vllm_operator.api.hub_names import COMMIT_PATTERN
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.sources.shape import EDITION, DraftShape, ModelShape
from triton_vllm_operator.sources.task import Said

_FAULT_TEXT_LIMIT: Final = 800
"""Characters, of up to four bytes; the kubelet keeps 4096 bytes of a termination message."""

_WARNING_LIMIT: Final = 400
_SHAPELESS_LIMIT: Final = 200
_KEPT_BYTES: Final = 4096

EXIT_FAULT: Final = 3
"""Exit code for what trying again does not mend."""
EXIT_TRY_AGAIN: Final = 1


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
    warning: str | None = Field(None, max_length=_WARNING_LIMIT)
    """What only the engine can tell, and should be known if it does not start."""
    shape: ModelShape | None = None
    """What of a model takes memory; None if it is not known."""
    draft: DraftShape | None = None
    """What of a draft model takes memory; None if it is not known."""
    shapeless: str | None = Field(None, max_length=_SHAPELESS_LIMIT)
    """Why neither is known; None if one is, or if nobody looked."""

    @property
    def is_told_now(self) -> bool:
        """Whether it is known what takes memory, and all of it that is read now."""
        return self.draft is not None or (self.shape is not None and self.shape.edition == EDITION)

    @field_validator("shape", "draft", mode="wrap")
    @classmethod
    def _is_optional(cls, value: object, parse: ValidatorFunctionWrapHandler) -> ModelShape | DraftShape | None:
        """A shape that another version of the program wrote, and that this one cannot read, spoils nothing else."""
        try:
            shape: ModelShape | DraftShape | None = parse(value)
        except ValidationError:
            return None
        return shape


def without_shape(facts: ModelFacts, why: str) -> ModelFacts:
    """The facts with why what takes memory is not known; the text is cut to fit."""
    return facts.model_copy(update={"shapeless": cut_warning(why)[:_SHAPELESS_LIMIT]})


class SourceReport(Said):
    """One source that was found good."""

    volume: str
    commit: str | None = Field(None, pattern=COMMIT_PATTERN)
    """That the revision of a repository stands for."""
    facts: ModelFacts | None = None
    """None if nothing was looked at: a format that only the engine reads."""


def find_source(sources: Iterable[SourceReport], volume: str) -> SourceReport | None:
    """What was found out about that which lies on a volume."""
    return next((source for source in sources if source.volume == volume), None)


_NO_WARNING: Final[Mapping[str, str | None]] = {"warning": None}
_NO_SHAPE: Final[Mapping[str, str | None]] = {
    "shape": None,
    "draft": None,
    "shapeless": "it does not fit into the report",
}


class Report(Said):
    """All sources, or what is wrong with the first bad one."""

    sources: tuple[SourceReport, ...] = ()
    fault: Fault | None = None

    def dump(self) -> str:
        """As a termination message; where the kubelet would cut it, the shapes are left out, then the last warnings."""
        report, text = self, self._as_json()
        places = tuple(reversed(range(len(self.sources))))
        for place, left_out in (*((place, _NO_SHAPE) for place in places), *((place, _NO_WARNING) for place in places)):
            if len(text.encode()) <= _KEPT_BYTES:
                break
            report = report._without(place, left_out)
            text = report._as_json()
        return text

    def _as_json(self) -> str:
        return self.model_dump_json(by_alias=True, exclude_defaults=True)

    def _without(self, place: int, left_out: Mapping[str, str | None]) -> "Report":
        sources = list(self.sources)
        facts = sources[place].facts
        if facts is not None and any(getattr(facts, name) for name, put in left_out.items() if put is None):
            quiet = facts.model_copy(update=left_out)
            sources[place] = sources[place].model_copy(update={"facts": quiet})
        return self.model_copy(update={"sources": tuple(sources)})


def fault_report(fault: Fault) -> Report:
    """A report of nothing but what is wrong; its text is cut to fit."""
    return Report(fault=fault.model_copy(update={"message": _printable(fault.message)[:_FAULT_TEXT_LIMIT]}))


def with_warning(report: SourceReport, warning: str) -> SourceReport:
    """The report with that warning after its own; as it was if there is none."""
    if not warning:
        return report
    known = report.facts or ModelFacts()
    said = "; ".join(filter(None, (known.warning, warning)))
    facts = known.model_copy(update={"warning": cut_warning(said)})
    return report.model_copy(update={"facts": facts})


def cut_warning(text: str) -> str:
    """A warning as it fits into a report."""
    return text if len(text := _printable(text)) <= _WARNING_LIMIT else f"{text[: _WARNING_LIMIT - 3]}..."


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def parse_report(message: str) -> Report | None:
    """The report in a termination message; None if the container ended before it wrote one."""
    try:
        return Report.model_validate_json(message)
    except ValidationError:
        return None
