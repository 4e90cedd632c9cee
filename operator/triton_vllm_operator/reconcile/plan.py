"""What should be there for an LLMDeployment, from the gates that its spec passed. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.model import ModelSource
from triton_vllm_operator.api.platform import Pods
from triton_vllm_operator.api.reasons import ConditionType, Reason
from triton_vllm_operator.api.spec import LLMDeploymentSpec, MemoryPolicy
from triton_vllm_operator.api.status import ConditionStatus
from triton_vllm_operator.health.failures.pods import Problem, cannot_begin, lacks_server
from triton_vllm_operator.manifests.preparation import needs_fetch
from triton_vllm_operator.manifests.revision import Resolved, Revision, render_revision
from triton_vllm_operator.manifests.sources import Placed, place_sources
from triton_vllm_operator.reconcile.accept import Accepted, NotAccepted, accept, find_runtime
from triton_vllm_operator.reconcile.fetching import Fetched, Fetching, find_fetched, give_up, has_fetch_job
from triton_vllm_operator.reconcile.learning import find_learned
from triton_vllm_operator.reconcile.live import Live, live_part, salvage_live_part
from triton_vllm_operator.reconcile.memory import MemoryFinding, find_memory, wants_inspection
from triton_vllm_operator.reconcile.model import Observed
from triton_vllm_operator.reconcile.refill import find_refill
from triton_vllm_operator.reconcile.refused import find_refusal
from triton_vllm_operator.repository.catalogue import Catalogue, RuntimeEntry
from triton_vllm_operator.sources.report import ModelFacts, SourceReport, without_shape
from triton_vllm_operator.sources.task import SHAPED

_LOOK_AT_NODES: Final = timedelta(seconds=60)
"""Between two looks at the nodes of a cluster in which a model does not fit."""
_NOT_RUN: Final = "the pod that should have did not run, or no node was known then"


@dataclass(frozen=True, slots=True)
class Plan:
    """What should be there."""

    revision: Revision | None
    live: Live
    refused: Problem | None = None
    unchecked: str = ""
    fetching: Fetching | None = None
    """For a spec that is no revision yet, while `revision` is an earlier one; or again, for `revision` itself."""
    memory: MemoryFinding | None = None
    """Of the spec; None if what the status says of it still holds, or nothing can be said yet."""
    source_job: Json | None = None
    """The Job that found out what the revision needs, which nothing stores until there is one."""


def make_plan(observed: Observed, catalogue: Catalogue, now: datetime) -> Plan:
    """What to make of the spec as it is now."""
    verdict, pods = accept(observed, catalogue), catalogue.policy.pods
    newest = observed.newest
    if isinstance(verdict, NotAccepted):
        # What was accepted last keeps running; what restarts nothing is still taken from the live spec.
        count = observed.deployed_replicas
        running = 1 if count is None else count
        live = live_part(verdict.spec) if verdict.spec else salvage_live_part(observed.resource.spec, running)
        refill = find_refill(observed, newest, live, pods, now) if newest else None
        return Plan(newest, live, verdict.problem, fetching=refill)
    live = live_part(verdict.spec)
    if verdict.known is not None:
        revision = _again_the_newest(_mended(observed, verdict, verdict.known, catalogue), newest)
        refill = find_refill(observed, revision, live, pods, now)
        memory = _find_memory(observed, verdict, live, revision.sources, revision.name)
        return Plan(revision, live, unchecked=verdict.unchecked, fetching=refill, memory=memory)
    fetched = _look_up(observed, verdict, live, newest, pods, now)
    if isinstance(fetched, Fetching):
        return Plan(newest, live, unchecked=verdict.unchecked, fetching=_beside(observed, fetched))
    memory = _find_memory(observed, verdict, live, fetched.sources, None)
    if memory is not None and memory.refuses and live.memory is MemoryPolicy.ENFORCE:
        # The Job stays: its report is what the model is known by.
        waiting = Fetching(fetched.job, Problem(memory.reason, memory.message), True, now + _LOOK_AT_NODES)
        return Plan(newest, live, unchecked=verdict.unchecked, fetching=_beside(observed, waiting), memory=memory)
    resolved = Resolved(verdict.spec, verdict.runtime, pods, fetched.sources)
    revision = render_revision(observed.resource.owner, resolved, newest.number + 1 if newest else 1)
    return Plan(revision, live, unchecked=verdict.unchecked, memory=memory, source_job=fetched.job)


def _look_up(
    observed: Observed, verdict: Accepted, live: Live, newest: Revision | None, settings: Pods, now: datetime
) -> Fetched | Fetching:
    """What was found out about the sources of a spec: by a Job, or of the same model before."""
    spec, vllm = verdict.spec, verdict.runtime.vllm
    known = _known_models(observed, spec)
    inspects = known is None and wants_inspection(spec, live.memory, observed.nodes)
    if inspects and needs_fetch(spec) and has_fetch_job(observed, spec, vllm, newest, settings):
        # It stands where one that looked as well did not get to run.
        return _without_looking(find_fetched(observed, spec, vllm, newest, settings, now), spec, _NOT_RUN)
    fetched = find_fetched(observed, spec, vllm, newest, settings, now, inspects)
    if isinstance(fetched, Fetching):
        if not inspects or not (why := give_up(fetched, observed, now)):
            return fetched
        return _without_looking(find_fetched(observed, spec, vllm, newest, settings, now), spec, why)
    return fetched if known is None else replace(fetched, sources=(*known, *fetched.sources))


def _without_looking(fetched: Fetched | Fetching, spec: LLMDeploymentSpec, why: str) -> Fetched | Fetching:
    """What the other sources tell, where models in images and on claims could not be looked into."""
    if isinstance(fetched, Fetching):
        return fetched
    facts = without_shape(ModelFacts(), f"it could not be looked into: {why}")
    unknown = (SourceReport(volume=each.volume, facts=facts) for each in _beside_hubs(spec))
    return replace(fetched, sources=(*unknown, *fetched.sources))


def _beside_hubs(spec: LLMDeploymentSpec) -> tuple[Placed, ...]:
    """Models and draft models in images and on claims."""
    return tuple(each for each in place_sources(spec) if each.role in SHAPED and each.source.hugging_face is None)


def _known_models(observed: Observed, spec: LLMDeploymentSpec) -> tuple[SourceReport, ...] | None:
    """What earlier revisions found out about the same images, or folders of claims; None if one is not known."""
    found = [_known_model(observed, each) for each in _beside_hubs(spec)]
    return tuple(each for each in found if each is not None) if all(found) else None


def _known_model(observed: Observed, wanted: Placed) -> SourceReport | None:
    found = (
        source
        for revision in observed.revisions
        for each in place_sources(revision.spec)
        if each.volume == wanted.volume and _content(each.source) == _content(wanted.source)
        for source in revision.sources
        if source.volume == wanted.volume and source.facts is not None and source.facts.is_told_now
    )
    return next(found, None)


def _content(source: ModelSource) -> tuple[object, ...]:
    return source.image, source.persistent_volume_claim


def _beside(observed: Observed, fetching: Fetching) -> Fetching:
    return fetching.beside_others() if any(pod.serves for pod in observed.pods) else fetching


def _find_memory(
    observed: Observed, verdict: Accepted, live: Live, sources: tuple[SourceReport, ...], revision: str | None
) -> MemoryFinding | None:
    learned = find_learned(observed, revision)
    found = find_memory(verdict.spec, verdict.runtime.vllm, sources, live.memory, observed.nodes, learned)
    before = observed.resource.status.condition(ConditionType.MEMORY_FITS)
    if (
        found is not None
        and found.reason is Reason.NO_MATCHING_NODE
        and before is not None
        and before.reason == Reason.DOES_NOT_FIT
        and before.observed_generation == observed.resource.generation
    ):
        # Nodes that go for a while make nothing fit: only others that come do.
        return MemoryFinding(ConditionStatus.FALSE, Reason.DOES_NOT_FIT, before.message)
    return found


def _again_the_newest(known: Revision, newest: Revision | None) -> Revision:
    """An edit that was taken back: the old revision becomes the newest again."""
    if newest is None or known == newest:
        return known
    return replace(known, number=newest.number + 1)


def _mended(observed: Observed, verdict: Accepted, known: Revision, catalogue: Catalogue) -> Revision:
    """The revision, rendered anew if none of its pods can start as it stands.

    What hinders them may be what the administrator has changed since: the user of the pods, a proxy, an image.
    """
    if not _is_hindered(observed, known):
        return known
    number = max(revision.number for revision in observed.revisions) + 1
    resolved = Resolved(verdict.spec, _runtime_now(verdict, catalogue), catalogue.policy.pods, known.sources)
    anew = render_revision(observed.resource.owner, resolved, number)
    return known if anew.name == known.name else anew


def _runtime_now(verdict: Accepted, catalogue: Catalogue) -> RuntimeEntry:
    """The catalogue's runtime as it stands, if its vLLM is the one that the arguments were checked for."""
    found = find_runtime(verdict.spec, catalogue)
    return found if isinstance(found, RuntimeEntry) and found.vllm == verdict.runtime.vllm else verdict.runtime


def _is_hindered(observed: Observed, revision: Revision) -> bool:
    """Whether Kubernetes refuses the pods of a revision, or each of them ends or waits before its engine starts."""
    own = [pod for pod in observed.pods if pod.revision == revision.hash and pod.lives]
    if own:
        return all(
            not pod.running and (pod.unprepared is not None or cannot_begin(pod) or lacks_server(pod)) for pod in own
        )
    return find_refusal(observed) is not None
