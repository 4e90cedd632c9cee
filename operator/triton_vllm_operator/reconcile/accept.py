"""The gates that a spec passes before anything is made of it, in order. Pure."""

from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from triton_vllm_operator.api.base import ApiModel
from triton_vllm_operator.api.changes import rolling_part
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import ArgumentCheck, LLMDeploymentSpec
from triton_vllm_operator.health.failures import Problem
from triton_vllm_operator.manifests.revision import Revision
from triton_vllm_operator.reconcile.model import Observed
from triton_vllm_operator.repository.arguments import catalogued_versions, load_arguments
from triton_vllm_operator.repository.catalogue import AcceleratorKind, Catalogue, RuntimeEntry
from triton_vllm_operator.repository.check import ArgumentFault, Severity, check_arguments

_SHOWN_PATH: Final = 12
"""Parts of a field's path that a message shows: values of any JSON may nest very deep."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A spec that can be served, with the runtime that was chosen for it."""

    spec: LLMDeploymentSpec
    runtime: RuntimeEntry
    known: Revision | None
    """The revision that was made of the same spec before."""
    unchecked: str = ""
    """Why some of the engine's arguments were not checked; empty if all were."""


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
        return NotAccepted(Reason.SPEC_INVALID, describe_error(error), None)
    known = find_revision(observed.revisions, spec)
    runtime = known.runtime if known else _runtime(spec, catalogue)
    if isinstance(runtime, Problem):
        return NotAccepted(runtime.reason, runtime.message, spec)
    faults = check_arguments(spec.engine, runtime.vllm)
    gates = (
        _accelerator_mismatch(spec, runtime),
        _forbidden_by_administrator(spec, catalogue),
        _forbidden_endpoint(spec, catalogue),
        _argument_fault(spec, faults),
        _name_conflict(observed),
        _refusal(observed),
    )
    if problem := next(filter(None, gates), None):
        return NotAccepted(problem.reason, problem.message, spec)
    return Accepted(spec, runtime, known, _unchecked(runtime, faults))


def _runtime(spec: LLMDeploymentSpec, catalogue: Catalogue) -> RuntimeEntry | Problem:
    if spec.runtime.image is not None:
        return RuntimeEntry(
            version="custom",
            image=spec.runtime.image,
            triton="unknown",
            vllm=spec.runtime.vllm_version or "",
            accelerator=AcceleratorKind.CPU if spec.gpu_resource is None else AcceleratorKind.NVIDIA_GPU,
        )
    version = spec.runtime.version or ""
    if (entry := catalogue.find(version)) is None:
        message = f"spec.runtime.version {version!r} is not offered here; choose one of {catalogue.versions}"
        return Problem(Reason.UNKNOWN_RUNTIME, message)
    return entry.with_backend(spec.runtime.backend) or Problem(
        Reason.UNKNOWN_RUNTIME,
        f"spec.runtime.backend {spec.runtime.backend}: the catalogue has no image of {version} with it; leave it out"
        + ("" if entry.accelerator is AcceleratorKind.CPU else ", or have one built (images/runtime-gpu)"),
    )


def _forbidden_by_administrator(spec: LLMDeploymentSpec, catalogue: Catalogue) -> Problem | None:
    if spec.runtime.image is not None and not catalogue.custom_images:
        message = "spec.runtime.image: the administrator allows no image beside the catalogue; "
        return Problem(Reason.FORBIDDEN_BY_ADMINISTRATOR, f"{message}write spec.runtime.version: {catalogue.versions}")
    if spec.engine.trust_remote_code and not catalogue.trust_remote_code:
        message = "spec.engine.trustRemoteCode: the administrator forbids code that lies beside the weights; "
        return Problem(Reason.FORBIDDEN_BY_ADMINISTRATOR, f"{message}take a model that vLLM knows by itself")
    return None


def _forbidden_endpoint(spec: LLMDeploymentSpec, catalogue: Catalogue) -> Problem | None:
    """A Secret that its author cannot read must not leave by way of a mirror of his own."""
    for field, source in spec.sources:
        hub = source.hugging_face
        if hub is None or hub.token_secret_ref is None or hub.mirror is None:
            continue
        if catalogue.token_endpoints is not None and hub.mirror not in catalogue.token_endpoints:
            message = f"{field}.huggingFace: the administrator lets no token be sent to {hub.endpoint}; "
            fix = "leave tokenSecretRef out, or ask for the mirror in the chart's allow.tokenEndpoints"
            return Problem(Reason.FORBIDDEN_BY_ADMINISTRATOR, message + fix)
    return None


def _argument_fault(spec: LLMDeploymentSpec, faults: tuple[ArgumentFault, ...]) -> Problem | None:
    warn_only = spec.runtime.argument_check is ArgumentCheck.WARN
    for fault in faults:
        if fault.severity is Severity.FORBIDDEN:
            return Problem(Reason.ARGUMENT_FORBIDDEN, fault.message)
        if not warn_only:
            return Problem(Reason.ARGUMENT_INVALID, fault.message)
    return None


def _unchecked(runtime: RuntimeEntry, faults: tuple[ArgumentFault, ...]) -> str:
    if faults:
        return f"{faults[0].message}; spec.runtime.argumentCheck lets it pass"
    if load_arguments(runtime.vllm) is None:
        known = ", ".join(catalogued_versions())
        return f"the engine's arguments were not checked: those of vLLM {runtime.vllm} are not catalogued, only {known}"
    return ""


def _name_conflict(observed: Observed) -> Problem | None:
    if not observed.foreign:
        return None
    return Problem(
        Reason.NAME_CONFLICT,
        f"{' and '.join(observed.foreign)} exists and is not controlled by this LLMDeployment; "
        "rename one of them, or delete the other object",
    )


def _refusal(observed: Observed) -> Problem | None:
    if (refusal := observed.refusal) is None:
        return None
    message = f"the API server does not take the {refusal.kind} {refusal.name}: {refusal.message}"
    return Problem(Reason.REFUSED_BY_API_SERVER, message)


def find_revision(revisions: tuple[Revision, ...], spec: LLMDeploymentSpec) -> Revision | None:
    """The newest revision that was made of this spec.

    Specs are compared, not what was rendered from them: another version of the operator may render
    differently, and must not restart a pod for it.
    """
    rolling = rolling_part(spec)
    same = [revision for revision in revisions if revision.spec == rolling]
    return max(same, key=lambda revision: revision.number, default=None)


def _accelerator_mismatch(spec: LLMDeploymentSpec, runtime: RuntimeEntry) -> Problem | None:
    wants_cpu = spec.gpu_resource is None
    is_cpu = runtime.accelerator is AcceleratorKind.CPU
    if wants_cpu == is_cpu:
        return None
    wanted, fix = ("NVIDIA GPUs", "accelerator: {cpu: {}}") if is_cpu else ("a CPU", "accelerator: {nvidiaGPU: {}}")
    default = ", which is what no spec.accelerator means" if spec.accelerator is None else ""
    return Problem(
        Reason.ACCELERATOR_MISMATCH,
        f"spec.runtime.version {runtime.version!r} does not run on {wanted}{default}; "
        f"write {fix} or choose another version",
    )


def describe_error(error: ValidationError) -> str:
    """The first thing that is wrong with a spec, with its field and what was found."""
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    field = ".".join(["spec", *path[:_SHOWN_PATH], *(["..."] if len(path) > _SHOWN_PATH else [])])
    if first["type"] == "extra_forbidden":
        return f"{field}: there is no such field"
    found = first.get("input")
    if first["type"] == "string_type" and isinstance(found, int | float):
        return f'{field}: {first["msg"]}; write it in quotes: "{found}"'
    shown = "" if isinstance(found, dict | ApiModel) else f", found {found!r}"
    return f"{field}: {first['msg']}{shown}"
