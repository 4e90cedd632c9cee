"""What an LLMDeployment, or a change of one, will do. Pure."""

from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from triton_vllm_operator.api import names
from triton_vllm_operator.api.changes import Change, ChangeClass, find_changes
from triton_vllm_operator.api.reading import read_spec
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LLMDeploymentSpec
from triton_vllm_operator.api.status import LLMDeploymentStatus
from triton_vllm_operator.cli.files import Document, Unreadable
from triton_vllm_operator.health.failures.pods import Problem
from triton_vllm_operator.manifests.sources import find_places
from triton_vllm_operator.reconcile.accept import Accepted, NotAccepted, accept
from triton_vllm_operator.reconcile.model import Observed, Resource
from triton_vllm_operator.repository.advice import find_advice
from triton_vllm_operator.repository.argument_policy import TYPED_FIELDS
from triton_vllm_operator.repository.arguments import load_arguments
from triton_vllm_operator.repository.catalogue import Catalogue, RuntimeEntry
from triton_vllm_operator.repository.content import engine_arguments

# Marks that tools put on every object for themselves.
_OF_TOOLS: Final = ("kubectl.kubernetes.io/", "argocd.argoproj.io/", "meta.helm.sh/", "helm.sh/", "app.kubernetes.io/")


@dataclass(frozen=True, slots=True)
class Setting:
    """One argument of the engine as it will be."""

    argument: str
    value: JsonValue
    origin: str
    """The field that sets it, or whose default it is."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that is known before anything is applied."""

    name: str
    accepted: bool
    reason: str
    message: str
    runtime: RuntimeEntry | None
    gpus: int
    replicas: int
    faults: tuple[Problem, ...]
    """Everything for which it is refused."""
    settings: tuple[Setting, ...]
    changes: tuple[Change, ...] | None
    """None if there is nothing to compare with."""
    warnings: tuple[str, ...]
    memory: tuple[str, str] | None = None
    """Whether the model fits, in a word and in a sentence; None if no model was shown."""

    @property
    def effect(self) -> ChangeClass:
        """The strongest class among the changes."""
        order = (ChangeClass.REFUSED, ChangeClass.ROLLING)
        found = {change.change_class for change in self.changes or ()}
        return next((kind for kind in order if kind in found), ChangeClass.NONE)


def observe_document(document: Document) -> Observed:
    """The document as if it had just been applied to an empty namespace."""
    return Observed(Resource(document.owner, 1, document.spec, LLMDeploymentStatus()))


def judge_document(document: Document, catalogue: Catalogue) -> Accepted | NotAccepted:
    """What the operator, and the API server before it, would say of the document."""
    verdict = accept(observe_document(document), catalogue)
    name = () if names.is_name(document.name) else (f"{names.NAME_RULE}; found {document.name!r}",)
    faults = (*name, *document.metadata_faults)
    if not faults:
        return verdict
    others = verdict.problems if isinstance(verdict, NotAccepted) else ()
    return NotAccepted((*(Problem(Reason.SPEC_INVALID, fault) for fault in faults), *others), verdict.spec)


def explain(new: Document, old: Document | None, catalogue: Catalogue) -> Explanation:
    """Explain `new`, and what its changes against `old` do.

    Raises:
        Unreadable: `old` is no valid LLMDeployment, so that nothing can be compared with it.
    """
    verdict = judge_document(new, catalogue)
    spec = verdict.spec
    changes = _changes(spec, old) if spec is not None and old is not None else None
    refused = next((change for change in changes or () if change.change_class is ChangeClass.REFUSED), None)
    runtime = verdict.runtime if isinstance(verdict, Accepted) else None
    accepted = runtime is not None and refused is None
    return Explanation(
        name=new.name,
        accepted=accepted,
        reason=_reason(verdict, refused),
        message=_message(verdict, refused),
        faults=verdict.problems if isinstance(verdict, NotAccepted) else (),
        runtime=runtime,
        gpus=spec.engine.gpus if spec is not None and spec.gpu_resource is not None else 0,
        replicas=spec.replicas if spec is not None else 0,
        settings=_settings(spec, runtime) if spec is not None and runtime is not None else (),
        changes=changes,
        warnings=(*_lost_marks(new), *find_advice(spec, runtime)) if spec is not None and runtime is not None else (),
    )


def _lost_marks(document: Document) -> tuple[str, ...]:
    """Labels and annotations that people hang on the LLMDeployment, and mean for its pods."""
    meant = [key for key in document.marks if not key.startswith(_OF_TOOLS)]
    if not meant:
        return ()
    return (
        f"metadata: {', '.join(meant)} stay on the LLMDeployment; what its pods shall carry goes to spec.podMetadata, "
        "and what its Service shall carry to spec.service",
    )


def _reason(verdict: Accepted | NotAccepted, refused: Change | None) -> str:
    if isinstance(verdict, NotAccepted):
        return verdict.problem.reason
    if refused is not None:
        return Reason.SPEC_INVALID
    return Reason.ARGUMENTS_UNCHECKED if verdict.unchecked else Reason.VALID


def _message(verdict: Accepted | NotAccepted, refused: Change | None) -> str:
    if isinstance(verdict, NotAccepted):
        return verdict.problem.message
    if refused is not None:
        return f"{refused.path} cannot be changed: create a second LLMDeployment, and delete this one later"
    return verdict.unchecked


def _changes(spec: LLMDeploymentSpec, old: Document) -> tuple[Change, ...]:
    before = read_spec(old.spec)
    if isinstance(before, tuple):
        raise Unreadable(f"the LLMDeployment to compare with is invalid: {'; '.join(before)}")
    return find_changes(before, spec)


def _settings(spec: LLMDeploymentSpec, runtime: RuntimeEntry) -> tuple[Setting, ...]:
    """Every typed field and every extra argument; what is unset with the default of this vLLM version."""
    written = engine_arguments(spec.engine, find_places(spec, {}))
    catalogue = load_arguments(runtime.vllm)
    found: list[Setting] = []
    for argument, field in TYPED_FIELDS.items():
        known = catalogue.arguments.get(argument) if catalogue else None
        if argument in written:
            found.append(Setting(argument, written.pop(argument), f"spec.engine.{field}"))
        elif known is not None and known.default_known:
            found.append(Setting(argument, known.default, f"default of vLLM {runtime.vllm}"))
    extra = spec.engine.extra_args or {}
    rest = (
        Setting(name, value, f"spec.engine.extraArgs.{name}" if name in extra else "spec.model")
        for name, value in written.items()
    )
    return (*found, *rest)
