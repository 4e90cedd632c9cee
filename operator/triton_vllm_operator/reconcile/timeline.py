"""How far a spec is on its way to the first generated token, and how long each step took. Pure.

What Kubernetes notes the time of is taken from there; only when a spec was accepted is known to nobody else, and stands
in the status from then on. What is done is never changed: a settled LLMDeployment is not written to.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from triton_vllm_operator.api import names
from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.status import MeasuredMemory
from triton_vllm_operator.api.timeline import Step, StepName, Timeline
from triton_vllm_operator.api.times import format_time, parse_time
from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.kube.resources import JOB, start_time, true_condition
from triton_vllm_operator.manifests.job import Purpose, is_for
from triton_vllm_operator.manifests.preparation import kept_sources, needs_fetch
from triton_vllm_operator.manifests.revision import Revision
from triton_vllm_operator.reconcile.model import Observed
from triton_vllm_operator.reconcile.plan import Plan
from triton_vllm_operator.sources.report import find_source

_ORDER: Final = {name: place for place, name in enumerate(StepName)}
_OF_POD: Final = frozenset({StepName.SCHEDULED, StepName.IMAGE_PULLED, StepName.LOADED, StepName.GENERATED})
"""Steps of one pod, which another takes anew."""


@dataclass(frozen=True, slots=True)
class _Times:
    """Of a step."""

    name: StepName
    began: datetime | None
    ended: datetime | None = None
    total_bytes: int | None = None


def find_timeline(observed: Observed, plan: Plan, measured: MeasuredMemory | None, now: datetime) -> Timeline | None:
    """The timeline as it is now; None of what was there before timelines were kept."""
    before = observed.resource.status.timeline
    if _begins(observed, plan):
        last = before.start_seconds if before is not None else None
        before = Timeline(generation=max(0, observed.resource.generation), last_start_seconds=last)
    if before is None:
        return None
    if is_over(before):
        of_this = plan.revision is not None and plan.revision.name == before.revision
        return before.model_copy(update={"steps": _merge(before.steps or (), [], measured if of_this else None)})
    revision = plan.revision if plan.fetching is None else None
    pod = _first_pod(observed, revision, before) if revision is not None else None
    # The steps of a pod that has gone before it generated are those of another one now.
    kept = tuple(
        step for step in before.steps or () if pod is None or pod.name == before.pod or step.name not in _OF_POD
    )
    found = [
        *_before_pods(observed, plan, revision, before, now),
        *(_of_pod(pod, revision) if pod and revision else ()),
    ]
    steps = _merge(kept, [step for times in found if (step := _as_step(times)) is not None], None)
    return Timeline(
        generation=before.generation,
        revision=revision.name if revision is not None else before.revision,
        pod=pod.name if pod is not None else before.pod,
        steps=steps or None,
        last_start_seconds=before.last_start_seconds,
    )


def _begins(observed: Observed, plan: Plan) -> bool:
    """Whether this is the first look at a spec of which pods will be made."""
    status, generation = observed.resource.status, observed.resource.generation
    told = status.timeline
    is_told = told is not None and told.generation == generation
    if plan.fetching is None and plan.revision is not None and plan.revision.name != status.revision:
        # One that was fetched for has begun already.
        return not is_told or (told is not None and told.revision is not None)
    is_new = status.observed_generation != generation
    return is_new and not is_told and (status.revision is None or plan.fetching is not None)


def is_over(timeline: Timeline) -> bool:
    """Whether its pod has generated."""
    generated = timeline.step(StepName.GENERATED)
    return generated is not None and generated.end_time is not None


def _first_pod(observed: Observed, revision: Revision, before: Timeline) -> Pod | None:
    """The pod that is told of, as long as it is there; else the oldest."""
    mine = [pod for pod in observed.pods if pod.revision == revision.hash and pod.lives]
    return next((pod for pod in mine if pod.name == before.pod), min(mine, key=_age, default=None))


def _age(pod: Pod) -> tuple[float, str]:
    return pod.created_at.timestamp() if pod.created_at is not None else float("inf"), pod.name


def _before_pods(
    observed: Observed, plan: Plan, revision: Revision | None, before: Timeline, now: datetime
) -> Iterator[_Times]:
    created = observed.resource.created_at if observed.resource.generation == 1 else None
    seen = before.step(StepName.ACCEPTED)
    began = parse_time(seen.start_time) if seen is not None and seen.start_time is not None else None
    yield _Times(StepName.ACCEPTED, began or created or now, now if plan.refused is None else None)
    size, jobs = find_weight_bytes(revision), _find_jobs(observed)
    for name, body in jobs.items():
        done = true_condition(body, "Complete") or true_condition(body, "Failed")
        yield _Times(name, start_time(body), done.since if done is not None else None, size)
    for name in {StepName.INSPECTED, StepName.FETCHED} - jobs.keys():
        # It was pruned before anybody saw that it was done.
        if (seen := before.step(name)) is not None and seen.start_time is not None and seen.end_time is None:
            yield _Times(name, parse_time(seen.start_time), now, size)


def _find_jobs(observed: Observed) -> dict[StepName, Json]:
    """Those that look the model up, or fetch it, by what they do."""
    jobs = (job for job in observed.children_of(JOB) if not is_for(job.name, Purpose.PULL))
    return {StepName.INSPECTED if is_for(job.name, Purpose.LOOK) else StepName.FETCHED: job.body for job in jobs}


def _of_pod(pod: Pod, revision: Revision) -> Iterator[_Times]:
    yield _Times(StepName.SCHEDULED, pod.created_at, pod.scheduled_at)
    images_since = pod.scheduled_at
    if _is_fetched_in_pods(revision):
        yield _Times(StepName.FETCHED, pod.prepare_began, pod.initialized_at, find_weight_bytes(revision))
        images_since = pod.initialized_at
    yield _Times(StepName.IMAGE_PULLED, images_since, pod.started_at)
    yield _Times(StepName.LOADED, pod.started_at, pod.containers_ready_at)
    yield _Times(StepName.GENERATED, pod.containers_ready_at, pod.generates_since)


def _is_fetched_in_pods(revision: Revision) -> bool:
    return needs_fetch(revision.spec) and not kept_sources(revision.spec)


def find_weight_bytes(revision: Revision | None) -> int | None:
    """Of the model of a revision; None if nobody looked."""
    model = find_source(revision.sources, names.MODEL_VOLUME) if revision is not None else None
    return model.facts.weight_bytes if model is not None and model.facts is not None else None


def _as_step(times: _Times) -> Step | None:
    """What was not begun is no step yet."""
    if times.began is None:
        return None
    if times.ended is None:
        return Step(name=times.name, start_time=format_time(times.began))
    seconds = max(0, round((times.ended - times.began).total_seconds()))
    is_fetched = times.name is StepName.FETCHED and seconds > 0
    return Step(
        name=times.name,
        start_time=format_time(times.began),
        end_time=format_time(times.ended),
        seconds=seconds,
        total_bytes=times.total_bytes,
        bytes_per_second=times.total_bytes // seconds if is_fetched and times.total_bytes else None,
    )


def _merge(kept: tuple[Step, ...], found: list[Step], measured: MeasuredMemory | None) -> tuple[Step, ...]:
    """What was done stays as it was told."""
    steps = {step.name: step for step in kept}
    for step in found:
        known = steps.get(step.name)
        is_more = known is None or (known.end_time is None and step.end_time is not None)
        if is_more or (known is not None and known.total_bytes is None and step.total_bytes is not None):
            steps[step.name] = step
    if measured is not None and measured.compile_seconds is not None and StepName.COMPILED not in steps:
        steps[StepName.COMPILED] = Step(name=StepName.COMPILED, seconds=measured.compile_seconds)
    return tuple(sorted(steps.values(), key=lambda step: _ORDER[step.name]))
