"""The gates that a spec passes before anything is made of it, in order. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.changes import rolling_part
from triton_vllm_operator.api.platform import Allow
from triton_vllm_operator.api.reading import read_rest, read_spec
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.runtime import ArgumentCheck
from triton_vllm_operator.api.spec import LLMDeploymentSpec
from triton_vllm_operator.health.failures.pods import Problem
from triton_vllm_operator.manifests.revision import Revision
from triton_vllm_operator.reconcile.model import IMAGE_VOLUMES_DROPPED, Observed
from triton_vllm_operator.reconcile.resources import find_resource_faults
from triton_vllm_operator.repository.argument_policy import load_policy
from triton_vllm_operator.repository.arguments import catalogued_versions, load_arguments
from triton_vllm_operator.repository.catalogue import AcceleratorKind, Catalogue, RuntimeEntry
from triton_vllm_operator.repository.check import ArgumentFault, Severity, check_arguments
from triton_vllm_operator.repository.environment import EnvironmentFault, check_environment

_DEEPEST: Final = 100
"""Levels of a value of any JSON: far more than an argument of vLLM or an affinity has."""
# What an API server without image volumes says of one, if it says anything.
_NO_IMAGE_VOLUMES: Final = (
    IMAGE_VOLUMES_DROPPED,
    "must specify a volume type",
    ".image: field not declared in schema",
)


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
    """A spec that cannot be served now, and all that is wrong with it. `spec` is there if it could be read."""

    problems: tuple[Problem, ...]
    spec: LLMDeploymentSpec | None

    @property
    def problem(self) -> Problem:
        """All of them in one sentence, under the reason of the first."""
        first, *others = self.problems
        if not others:
            return first
        numbered = (f"({number}) {problem.message}" for number, problem in enumerate(self.problems, start=1))
        return Problem(first.reason, f"{len(self.problems)} faults: {' '.join(numbered)}")


def accept(observed: Observed, catalogue: Catalogue) -> Accepted | NotAccepted:
    """Pass the spec through every gate; all that refuse speak."""
    spec = read_spec(observed.resource.spec, place_of_argument=load_policy().place_of)
    if isinstance(spec, tuple):
        unread = tuple(Problem(Reason.SPEC_INVALID, fault) for fault in spec)
        return NotAccepted((*unread, *_faults_of_rest(observed.resource.spec, catalogue)), None)
    if deep := tuple(_too_deep(spec)):
        return NotAccepted(deep, spec)
    known = find_revision(observed.revisions, spec)
    runtime = known.runtime if known else find_runtime(spec, catalogue)
    if isinstance(runtime, Problem):
        return NotAccepted((runtime, *_forbidden(observed, spec, catalogue)), spec)
    faults = check_arguments(spec, runtime.vllm)
    of_environment = check_environment(spec.env or (), runtime.vllm, catalogue.policy.allow.unknown_environment)
    problems = (
        *(Problem(Reason.SPEC_INVALID, fault) for fault in find_resource_faults(spec)),
        *_accelerator_mismatch(spec, runtime),
        *_forbidden(observed, spec, catalogue),
        *_argument_faults(spec, faults),
        *_environment_faults(spec, of_environment),
        *_name_conflict(observed),
        *_refusal(observed),
        *_unreadable(observed),
    )
    unchecked = (*(fault.message for fault in faults), *(fault.message for fault in of_environment))
    return NotAccepted(problems, spec) if problems else Accepted(spec, runtime, known, _unchecked(runtime, unchecked))


def _faults_of_rest(spec: Json, catalogue: Catalogue) -> Iterator[Problem]:
    """What would be said of arguments and environment if the faults of the schema were mended."""
    rest = read_rest(spec)
    if rest is None or any(_too_deep(rest)):
        return
    runtime = find_runtime(rest, catalogue)
    if isinstance(runtime, Problem):
        yield runtime
        return
    yield from _argument_faults(rest, check_arguments(rest, runtime.vllm))
    allowed = catalogue.policy.allow.unknown_environment
    yield from _environment_faults(rest, check_environment(rest.env or (), runtime.vllm, allowed))


def _too_deep(spec: LLMDeploymentSpec) -> Iterator[Problem]:
    """Values of any JSON that the API server reads, and that nothing after it would."""
    affinity = spec.scheduling.affinity if spec.scheduling else None
    parts: dict[str, object] = {
        f"spec.engine.extraArgs.{name}": v for name, v in (spec.engine.extra_args or {}).items()
    }
    if affinity is not None:
        places = (affinity.node_affinity, affinity.pod_affinity, affinity.pod_anti_affinity)
        parts["spec.scheduling.affinity"] = list(places)
    for field, value in parts.items():
        if _nests_deeper(value, _DEEPEST):
            yield Problem(Reason.ARGUMENT_INVALID, f"{field}: it nests deeper than {_DEEPEST} levels")


def _nests_deeper(value: object, levels: int) -> bool:
    """Level by level, since values may nest deeper than calls."""
    level = [value]
    for _ in range(levels + 1):
        inner = (part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list))
        level = [child for children in inner for child in children]
        if not level:
            return False
    return True


def find_runtime(spec: LLMDeploymentSpec, catalogue: Catalogue) -> RuntimeEntry | Problem:
    """What the spec's runtime is by the catalogue as it stands; why there is none."""
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


def _forbidden(observed: Observed, spec: LLMDeploymentSpec, catalogue: Catalogue) -> Iterator[Problem]:
    """What the administrator does not allow."""
    allow = catalogue.policy.allow
    if spec.runtime.image is not None and not allow.custom_images:
        message = "spec.runtime.image: the administrator allows no image beside the catalogue; "
        yield Problem(Reason.FORBIDDEN_BY_ADMINISTRATOR, f"{message}write spec.runtime.version: {catalogue.versions}")
    if spec.engine.trust_remote_code and not allow.trust_remote_code:
        message = "spec.engine.trustRemoteCode: the administrator forbids code that lies beside the weights; "
        yield Problem(Reason.FORBIDDEN_BY_ADMINISTRATOR, f"{message}take a model that vLLM knows by itself")
    account, namespace = spec.service_account_name, observed.resource.owner.namespace
    if account is not None and not allow.takes_service_account(namespace, account):
        message = f"spec.serviceAccountName {account}: the administrator does not allow it in namespace {namespace}; "
        yield Problem(Reason.FORBIDDEN_BY_ADMINISTRATOR, f"{message}ask for it in the chart's allow.serviceAccounts")
    yield from _forbidden_endpoints(spec, allow)


def _forbidden_endpoints(spec: LLMDeploymentSpec, allow: Allow) -> Iterator[Problem]:
    """A Secret that its author cannot read must not leave by way of a mirror of his own."""
    for field, source in spec.sources:
        hub = source.hugging_face
        if hub is None or hub.token_secret_ref is None or hub.mirror is None:
            continue
        if allow.token_endpoints is not None and hub.mirror not in allow.token_endpoints:
            message = f"{field}.huggingFace: the administrator lets no token be sent to {hub.endpoint}; "
            fix = "leave tokenSecretRef out, or ask for the mirror in the chart's allow.tokenEndpoints"
            yield Problem(Reason.FORBIDDEN_BY_ADMINISTRATOR, message + fix)


def _argument_faults(spec: LLMDeploymentSpec, faults: tuple[ArgumentFault, ...]) -> Iterator[Problem]:
    warn_only = spec.runtime.argument_check is ArgumentCheck.WARN
    for fault in faults:
        if fault.severity is Severity.FORBIDDEN:
            yield Problem(Reason.ARGUMENT_FORBIDDEN, fault.message)
        elif not warn_only:
            yield Problem(Reason.ARGUMENT_INVALID, fault.message)


def _environment_faults(spec: LLMDeploymentSpec, faults: tuple[EnvironmentFault, ...]) -> Iterator[Problem]:
    warn_only = spec.runtime.argument_check is ArgumentCheck.WARN
    for fault in faults:
        if fault.is_forbidden:
            yield Problem(Reason.ENVIRONMENT_FORBIDDEN, fault.message)
        elif not warn_only:
            yield Problem(Reason.ENVIRONMENT_INVALID, fault.message)


def _unchecked(runtime: RuntimeEntry, faults: tuple[str, ...]) -> str:
    if faults:
        return f"{faults[0]}; spec.runtime.argumentCheck lets it pass"
    if load_arguments(runtime.vllm) is None:
        oldest, *_, newest = catalogued_versions()
        known = f"those of {oldest} to {newest} are"
        return f"the engine's arguments were not checked: those of vLLM {runtime.vllm} are not catalogued, {known}"
    return ""


def _unreadable(observed: Observed) -> Iterator[Problem]:
    if (stored := observed.newest_unreadable) is not None:
        yield Problem(
            Reason.REVISION_UNREADABLE,
            f"ControllerRevision {stored.name} was written by another version of the operator, and this one cannot "
            "read it: nothing is changed; run that version, or delete the ControllerRevision to have the spec rolled "
            "out anew",
        )


def _name_conflict(observed: Observed) -> Iterator[Problem]:
    if observed.foreign:
        yield Problem(
            Reason.NAME_CONFLICT,
            f"{' and '.join(observed.foreign)} exists and is not controlled by this LLMDeployment; "
            "rename one of them, or delete the other object",
        )


def _refusal(observed: Observed) -> Iterator[Problem]:
    if (refusal := observed.refusal) is not None:
        if any(words in refusal.message for words in _NO_IMAGE_VOLUMES):
            yield Problem(
                Reason.IMAGE_VOLUMES_UNSUPPORTED,
                "this cluster mounts no images as volumes (Kubernetes 1.35 does, 1.33 with the feature gate "
                "ImageVolume): write persistentVolumeClaim or huggingFace in place of image",
            )
            return
        message = f"the API server does not take the {refusal.kind} {refusal.name}: {refusal.message}"
        yield Problem(Reason.REFUSED_BY_API_SERVER, message)


def find_revision(revisions: tuple[Revision, ...], spec: LLMDeploymentSpec) -> Revision | None:
    """The newest revision that was made of this spec.

    Specs are compared, not what was rendered from them: another version of the operator may render
    differently, and must not restart a pod for it.
    """
    rolling = rolling_part(spec)
    same = [revision for revision in revisions if revision.spec == rolling]
    return max(same, key=lambda revision: revision.number, default=None)


def _accelerator_mismatch(spec: LLMDeploymentSpec, runtime: RuntimeEntry) -> Iterator[Problem]:
    wants_cpu = spec.gpu_resource is None
    is_cpu = runtime.accelerator is AcceleratorKind.CPU
    if wants_cpu == is_cpu:
        return
    wanted, fix = ("NVIDIA GPUs", "accelerator: {cpu: {}}") if is_cpu else ("a CPU", "accelerator: {nvidiaGPU: {}}")
    default = ", which is what no spec.accelerator means" if spec.accelerator is None else ""
    yield Problem(
        Reason.ACCELERATOR_MISMATCH,
        f"spec.runtime.version {runtime.version!r} does not run on {wanted}{default}; "
        f"write {fix} or choose another version",
    )
