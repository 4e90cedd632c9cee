"""`kubectl llm status NAME`: what is known of an LLMDeployment, in lines. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from triton_vllm_operator.api.reasons import ConditionType, Reason
from triton_vllm_operator.api.status import ConditionStatus, LLMDeploymentStatus
from triton_vllm_operator.api.timeline import Step, StepName
from triton_vllm_operator.api.times import parse_time
from triton_vllm_operator.cli.cluster import Placed, Running
from triton_vllm_operator.cli.plan_running import print_rows
from triton_vllm_operator.health.failures.pods import find_gate_failure, find_problem
from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.memory.fit import gib

_WORDS: Final = {
    StepName.ACCEPTED: "accepted",
    StepName.INSPECTED: "inspected",
    StepName.FETCHED: "fetched",
    StepName.SCHEDULED: "scheduled",
    StepName.IMAGE_PULLED: "images pulled",
    StepName.LOADED: "loaded",
    StepName.COMPILED: "  compiled",
    StepName.GENERATED: "generated",
}


@dataclass(frozen=True, slots=True)
class StepRow:
    """One line of a timeline."""

    words: str
    seconds: float
    """So far, if it is under way."""
    is_over: bool
    note: str = ""


def is_ready(running: Running) -> bool:
    """Whether there is nothing to wait for: of the spec as it is, and not as it was before an edit."""
    return _is_true(running, ConditionType.READY)


def is_at_rest(running: Running) -> bool:
    """Whether nothing comes of waiting: it is ready, or stands still until somebody does something."""
    progressing = running.status.condition(ConditionType.PROGRESSING)
    is_paused = running.paused and progressing is not None and progressing.reason == Reason.PAUSED
    return is_paused or is_ready(running) or _is_true(running, ConditionType.STALLED)


def _is_true(running: Running, kind: ConditionType) -> bool:
    """Whether a condition that speaks of the present spec is True."""
    condition = running.status.condition(kind)
    is_of_now = running.status.observed_generation == running.generation
    return is_of_now and condition is not None and condition.status is ConditionStatus.TRUE


def headline(running: Running) -> str:
    """The one sentence that says how it stands."""
    ready = running.status.condition(ConditionType.READY)
    of = f"{running.name} in {running.namespace}"
    if ready is None:
        return f"{of}: the operator has not seen it yet; is it installed? kubectl llm doctor"
    stale = "" if running.status.observed_generation == running.generation else " (of the spec before the last edit)"
    stands = "ready" if ready.status is ConditionStatus.TRUE else f"not ready, {ready.reason}"
    return f"{of}: {stands}{stale}: {ready.message}"


def _condition_lines(status: LLMDeploymentStatus, now: datetime) -> Iterator[str]:
    """All conditions; the message of one that the headline does not hold."""
    ready = status.condition(ConditionType.READY)
    said = ready.message if ready is not None else ""
    for condition in status.conditions or ():
        line = f"  {condition.type:12}  {condition.status:8}{condition.reason:24}"
        line += age(parse_time(condition.last_transition_time), now)
        is_told = condition.message == said or condition.type in _SILENT
        yield line.rstrip() if is_told else f"{line:52} {condition.message}".rstrip()


_SILENT: Final = frozenset({ConditionType.READY, ConditionType.STALLED, ConditionType.AVAILABLE})


def _step_rows(status: LLMDeploymentStatus, now: datetime) -> list[StepRow]:
    """The timeline; empty where none was kept."""
    steps = status.timeline.steps if status.timeline is not None else ()
    return [_row(step, now) for step in steps or ()]


def _timeline_title(status: LLMDeploymentStatus) -> str:
    """Of what it tells."""
    told = status.timeline
    if told is None:
        return ""
    return f"timeline of generation {told.generation}" + (f", pod {told.pod}" if told.pod else "")


def _row(step: Step, now: datetime) -> StepRow:
    began = parse_time(step.start_time) if step.start_time else None
    is_over = step.seconds is not None
    seconds = step.seconds if step.seconds is not None else (now - began).total_seconds() if began is not None else 0
    note = gib(step.total_bytes) if step.total_bytes else ""
    note += f" at {step.bytes_per_second / 1e6:,.0f} MB/s" if step.bytes_per_second else ""
    return StepRow(_WORDS[step.name], max(0.0, float(seconds)), is_over, note)


def step_line(row: StepRow) -> str:
    """Without colours."""
    took = f"{row.seconds:,.0f} s"
    return f"  {row.words:14}{took:>8}{'' if row.is_over else ' so far'}  {row.note}".rstrip()


def _pod_lines(placed: Iterable[Placed], status: LLMDeploymentStatus, now: datetime) -> Iterator[str]:
    """Each pod, where it is, and what is wrong with it; one that serves, since when it generates."""
    for each in placed:
        restarts = f", started again {each.pod.restarts} times" if each.pod.restarts else ""
        where = f" on {each.node}" if each.node else ""
        yield f"  {each.pod.name}{where}: {_say(each.pod, status, now)}{restarts}"


def _say(pod: Pod, status: LLMDeploymentStatus, now: datetime) -> str:
    if pod.terminating:
        return "ends"
    if pod.serves:
        return f"generates, proven {age(pod.generates_since, now)} ago and asked again since"
    if said := _said_of(pod, status):
        return said
    if (problem := find_gate_failure(pod) or find_problem(pod)) is not None:
        return problem.message.removeprefix(f"pod {pod.name} ").removeprefix(f"pod {pod.name}: ")
    if pod.has_proof:
        return "generated, and is not in the Service"
    return f"has not generated yet, {_is_at(pod, now)}"


def _is_at(pod: Pod, now: datetime) -> str:
    """How far it is, and for how long."""
    if pod.scheduled_at is None:
        return "and has no node"
    if pod.containers_ready_at is not None:
        return f"its server is up for {age(pod.containers_ready_at, now)}"
    if pod.started_at is not None and pod.running:
        return f"loads for {age(pod.started_at, now)}"
    if pod.prepares:
        return f"fetches or checks its weights for {age(pod.prepare_began, now)}"
    return f"waits for its images and volumes for {age(pod.scheduled_at, now)}"


def _said_of(pod: Pod, status: LLMDeploymentStatus) -> str:
    """What a condition says of it: the operator knows more than the pod shows, as what it does about it."""
    degraded = status.condition(ConditionType.DEGRADED)
    of_it = f"pod {pod.name} "
    if degraded is None or degraded.status is not ConditionStatus.TRUE or not degraded.message.startswith(of_it):
        return ""
    return degraded.message.removeprefix(of_it)


def find_sections(
    running: Running, pods: tuple[Placed, ...], now: datetime
) -> Iterator[tuple[str, list[str] | list[StepRow]]]:
    """What stands below the headline, each under its title."""
    status = running.status
    yield "conditions", list(_condition_lines(status, now))
    if rows := _step_rows(status, now):
        yield _timeline_title(status), rows
    if memory := print_rows(status):
        yield "memory", [f"  {line}" for line in memory]
    yield "pods", list(_pod_lines(pods, status, now)) if pods else ["  none"]


def status_lines(running: Running, pods: tuple[Placed, ...], now: datetime) -> list[str]:
    """All of it as plain text."""
    lines = [headline(running), *([f"  {running.status.url}"] if running.status.url else [])]
    for title, contents in find_sections(running, pods, now):
        lines += ["", title, *(step_line(row) if isinstance(row, StepRow) else row for row in contents)]
    return lines


def age(since: datetime | None, now: datetime) -> str:
    """As kubectl writes it: 45s, 12m, 5h, 3d."""
    if since is None:
        return ""
    seconds = max(0, int((now - since).total_seconds()))
    for size, unit, most in ((1, "s", 120), (60, "m", 120), (3600, "h", 48)):
        if seconds < size * most:
            return f"{seconds // size}{unit}"
    return f"{seconds // 86_400}d"
