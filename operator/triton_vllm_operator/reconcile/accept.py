"""The gates that a spec passes before anything is made of it, in order. Pure."""

from dataclasses import dataclass

from pydantic import ValidationError

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LLMDeploymentSpec, rolling_part
from triton_vllm_operator.manifests.revision import Revision
from triton_vllm_operator.reconcile.model import Observed
from triton_vllm_operator.repository.catalogue import AcceleratorKind, Catalogue, RuntimeEntry


@dataclass(frozen=True, slots=True)
class Accepted:
    """A spec that can be served, with the runtime that was chosen for it."""

    spec: LLMDeploymentSpec
    runtime: RuntimeEntry
    known: Revision | None
    """The revision that was made of the same spec before."""


@dataclass(frozen=True, slots=True)
class NotAccepted:
    """A spec that cannot be served now, and why. `spec` is there if it could be read."""

    reason: Reason
    message: str
    spec: LLMDeploymentSpec | None


def accept(observed: Observed, catalogue: Catalogue) -> Accepted | NotAccepted:
    """Pass the spec through every gate; the first that refuses speaks."""
    try:
        spec = LLMDeploymentSpec.model_validate(observed.resource.spec)
    except ValidationError as error:
        return NotAccepted(Reason.SPEC_INVALID, _first_error(error), None)
    known = find_revision(observed.revisions, spec)
    runtime = known.runtime if known else catalogue.find(spec.runtime.version)
    if runtime is None:
        message = (
            f"spec.runtime.version {spec.runtime.version!r} is not offered here; choose one of {catalogue.versions}"
        )
        return NotAccepted(Reason.UNKNOWN_RUNTIME, message, spec)
    if mismatch := _accelerator_mismatch(spec, runtime):
        return NotAccepted(Reason.ACCELERATOR_MISMATCH, mismatch, spec)
    if observed.foreign:
        message = (
            f"{' and '.join(observed.foreign)} exists and is not controlled by this LLMDeployment; "
            "rename one of them, or delete the other object"
        )
        return NotAccepted(Reason.NAME_CONFLICT, message, spec)
    if observed.refusal is not None:
        refusal = observed.refusal
        message = f"the API server does not take the {refusal.kind} {refusal.name}: {refusal.message}"
        return NotAccepted(Reason.REFUSED_BY_API_SERVER, message, spec)
    return Accepted(spec, runtime, known)


def find_revision(revisions: tuple[Revision, ...], spec: LLMDeploymentSpec) -> Revision | None:
    """The newest revision that was made of this spec.

    Specs are compared, not what was rendered from them: another version of the operator may render
    differently, and must not restart a pod for it.
    """
    rolling = rolling_part(spec)
    same = [revision for revision in revisions if revision.spec == rolling]
    return max(same, key=lambda revision: revision.number, default=None)


def _accelerator_mismatch(spec: LLMDeploymentSpec, runtime: RuntimeEntry) -> str:
    wants_cpu = spec.accelerator is not None and spec.accelerator.cpu is not None
    is_cpu = runtime.accelerator is AcceleratorKind.CPU
    if wants_cpu == is_cpu:
        return ""
    wanted, fix = ("NVIDIA GPUs", "accelerator: {cpu: {}}") if is_cpu else ("a CPU", "accelerator: {nvidiaGPU: {}}")
    default = ", which is what no spec.accelerator means" if spec.accelerator is None else ""
    return (
        f"spec.runtime.version {runtime.version!r} does not run on {wanted}{default}; "
        f"write {fix} or choose another version"
    )


def _first_error(error: ValidationError) -> str:
    first = error.errors()[0]
    field = ".".join(["spec", *map(str, first["loc"])])
    found = first.get("input")
    shown = "" if isinstance(found, dict) else f", found {found!r}"
    return f"{field}: {first['msg']}{shown}"
