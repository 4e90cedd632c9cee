"""What should be there for an LLMDeployment, from the gates that its spec passed. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime

from triton_vllm_operator.api.spec import LLMDeploymentSpec, Probe
from triton_vllm_operator.health.failures import Problem
from triton_vllm_operator.manifests.revision import Resolved, Revision, render_revision
from triton_vllm_operator.reconcile.accept import NotAccepted, accept
from triton_vllm_operator.reconcile.fetching import Fetching, find_fetched
from triton_vllm_operator.reconcile.model import Observed
from triton_vllm_operator.reconcile.refill import find_refill
from triton_vllm_operator.repository.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class Plan:
    """What should be there."""

    revision: Revision | None
    replicas: int
    probe: Probe
    refused: Problem | None = None
    unchecked: str = ""
    fetching: Fetching | None = None
    """For a spec that is no revision yet, while `revision` is an earlier one; or again, for `revision` itself."""


def make_plan(observed: Observed, catalogue: Catalogue, now: datetime) -> Plan:
    """What to make of the spec as it is now."""
    verdict = accept(observed, catalogue)
    newest = max(observed.revisions, key=lambda revision: revision.number, default=None)
    if isinstance(verdict, NotAccepted):
        # What was accepted last keeps running; what restarts nothing is still taken from the live spec.
        spec = verdict.spec
        replicas = spec.replicas if spec else _live_replicas(observed)
        probe = spec.probe if spec else Probe()
        refill = find_refill(observed, newest, replicas, catalogue.tools_image, now) if newest else None
        return Plan(newest, replicas, probe, Problem(verdict.reason, verdict.message), fetching=refill)
    spec = verdict.spec
    if verdict.known is not None:
        revision = _again_the_newest(verdict.known, newest)
        refill = find_refill(observed, revision, spec.replicas, catalogue.tools_image, now)
        return Plan(revision, spec.replicas, spec.probe, unchecked=verdict.unchecked, fetching=refill)
    fetched = find_fetched(observed, spec, newest, catalogue.tools_image, now)
    if isinstance(fetched, Fetching):
        fetching = fetched.beside_others() if any(pod.serves for pod in observed.pods) else fetched
        return Plan(newest, spec.replicas, spec.probe, unchecked=verdict.unchecked, fetching=fetching)
    resolved = Resolved(spec, verdict.runtime, catalogue.tools_image, fetched.sources)
    revision = render_revision(observed.resource.owner, resolved, newest.number + 1 if newest else 1)
    return Plan(revision, spec.replicas, spec.probe, unchecked=verdict.unchecked)


def _again_the_newest(known: Revision, newest: Revision | None) -> Revision:
    """An edit that was taken back: the old revision becomes the newest again."""
    if newest is None or known == newest:
        return known
    return replace(known, number=newest.number + 1)


def _live_replicas(observed: Observed) -> int:
    replicas = observed.resource.spec.get("replicas", LLMDeploymentSpec.model_fields["replicas"].default)
    return replicas if isinstance(replicas, int) and replicas >= 0 else 1
