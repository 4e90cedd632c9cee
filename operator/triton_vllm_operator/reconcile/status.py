"""The status of an LLMDeployment. Pure."""

from datetime import datetime
from typing import Final

from triton_vllm_operator.api import names
from triton_vllm_operator.api.recovery import RecoveryStatus
from triton_vllm_operator.api.status import (
    MOST_GENERATED,
    MOST_MEASURED,
    EngineStatus,
    LLMDeploymentStatus,
    MeasuredMemory,
    MemoryStatus,
    ModelStatus,
    RunningEngine,
)
from triton_vllm_operator.health.running import (
    find_config_differences,
    find_engine_differences,
    find_unused_cache,
    parse_engine_line,
)
from triton_vllm_operator.manifests.revision import Revision
from triton_vllm_operator.manifests.service import generate_url
from triton_vllm_operator.memory.measured import Measured, read_measured
from triton_vllm_operator.reconcile.conditions import find_conditions, to_conditions
from triton_vllm_operator.reconcile.learning import compare, fullest
from triton_vllm_operator.reconcile.model import Observed
from triton_vllm_operator.reconcile.plan import Plan
from triton_vllm_operator.reconcile.situation import Situation
from triton_vllm_operator.reconcile.timeline import find_timeline
from triton_vllm_operator.repository.utilization import find_utilization
from triton_vllm_operator.sources.report import ModelFacts, find_source

_SHOWN_DIFFERENCES: Final = 8
_DIFFERENCE_LIMIT: Final = 256
_NAME_LIMIT: Final = 64


def build_status(
    observed: Observed, plan: Plan, situation: Situation, recovery: RecoveryStatus | None, now: datetime
) -> LLMDeploymentStatus:
    """What `kubectl get llm` shows."""
    owner, generation = observed.resource.owner, observed.resource.generation
    memory = _memory_status(observed, plan, plan.revision) if plan.revision else None
    findings = find_conditions(situation, now)
    labels, generated = names.child_labels(owner.name), _find_generated(observed, plan)
    return LLMDeploymentStatus(
        conditions=to_conditions(findings, observed.resource.status, generation, now),
        observed_generation=generation,
        url=generate_url(owner, plan.revision.served_name) if plan.revision else None,
        revision=plan.revision.name if plan.revision else None,
        engine=_engine_status(observed, plan.revision) if plan.revision else None,
        model=_model_status(plan.revision) if plan.revision else None,
        memory_plan=memory,
        recovery=recovery,
        rollout=situation.step.status,
        generated=generated,
        generated_before=_find_generated_before(observed, generated),
        rollback=situation.rollback,
        stopped=situation.stopped,
        timeline=find_timeline(observed, plan, memory.measured if memory is not None else None, now),
        replicas=len(situation.alive),
        ready_replicas=sum(pod.serves for pod in situation.alive),
        selector=",".join(f"{name}={value}" for name, value in sorted(labels.items())),
    )


def _find_generated(observed: Observed, plan: Plan) -> str | None:
    """The revision of which a pod generates, or did so last."""
    revision = plan.revision
    if revision is not None and any(pod.serves and pod.revision == revision.hash for pod in observed.pods):
        return revision.name
    if observed.resource.status.generated is not None:
        return observed.resource.status.generated
    # An earlier version of the operator did not note it.
    serving = {pod.revision for pod in observed.pods if pod.serves}
    good = [each for each in observed.revisions if each.hash in serving]
    return max(good, key=lambda each: each.number).name if good else None


def _find_generated_before(observed: Observed, generated: str | None) -> tuple[str, ...] | None:
    """Those that generated before the last that did, the last first, as far as they are still stored."""
    status = observed.resource.status
    known = status.generated_before or ()
    if status.generated is not None and generated != status.generated:
        known = (status.generated, *known)
    stored = {revision.name for revision in observed.revisions}
    return tuple(name for name in dict.fromkeys(known) if name != generated and name in stored)[:MOST_GENERATED] or None


def _engine_status(observed: Observed, revision: Revision) -> EngineStatus:
    """With the defaults that vLLM changed between versions."""
    return EngineStatus(
        vllm_version=revision.runtime.vllm,
        gpu_memory_utilization=find_utilization(revision.spec, revision.runtime.vllm),
        running=find_running_engine(observed, revision),
    )


def find_running_engine(observed: Observed, revision: Revision) -> RunningEngine | None:
    """What was read now, or stands in the status already; None if no engine of this revision was asked yet."""
    before = observed.resource.status
    known = before.engine.running if before.engine and before.revision == revision.name else None
    if (inspection := observed.inspection) is None or known is not None:
        return known
    differences = (*find_config_differences(inspection.model_config), *find_unused_cache(inspection.log))
    if (line := parse_engine_line(inspection.log)) is None:
        return RunningEngine(differences=_shortened(differences))
    differences += find_engine_differences(line, revision.repository.model_json, revision.runtime.vllm)
    return RunningEngine(vllm_version=line.vllm, max_model_len=line.max_model_len, differences=_shortened(differences))


def _shortened(differences: tuple[str, ...]) -> tuple[str, ...] | None:
    return tuple(text[:_DIFFERENCE_LIMIT] for text in differences[:_SHOWN_DIFFERENCES]) or None


def _memory_status(observed: Observed, plan: Plan, revision: Revision) -> MemoryStatus | None:
    """What was found now, or stands in the status already of this revision."""
    before = observed.resource.status
    kept = before.memory_plan if before.revision == revision.name and before.memory_plan else MemoryStatus()
    # While a spec waits that does not fit, the plan is not that of the revision.
    is_of_revision = plan.memory is not None and plan.fetching is None
    predicted = plan.memory.predicted if plan.memory is not None and is_of_revision else kept.predicted
    measured, heard = kept.measured, kept.measured_pods or ()
    if (inspection := observed.inspection) is not None:
        found = read_measured(inspection.log)
        measured = fullest(measured, _as_status(found) if found is not None else None)
        alive = {pod.name for pod in observed.pods}
        heard = (*(name for name in heard if name in alive), inspection.pod)
    if predicted is None and measured is None:
        return None
    return MemoryStatus(
        predicted=predicted,
        measured=measured,
        errors=compare(predicted, measured),
        measured_pods=heard[-MOST_MEASURED:] or None if measured is not None else None,
    )


def _as_status(found: Measured) -> MeasuredMemory:
    return MeasuredMemory(
        weights_bytes=found.weights,
        # An engine that has started has one.
        kv_cache_bytes=max(0, found.cache) if found.cache is not None else None,
        kv_cache_tokens=found.tokens,
        max_concurrency=None if found.concurrency is None else f"{found.concurrency:.2f}",
        graph_bytes=max(0, found.graphs) if found.graphs is not None else None,
        suggested_kv_cache_bytes=found.suggested_cache,
        attention_backend=found.attention[:_NAME_LIMIT] if found.attention else None,
        load_seconds=_rounded(found.load_seconds),
        compile_seconds=_rounded(found.compile_seconds),
        capture_seconds=_rounded(found.capture_seconds),
        start_seconds=_rounded(found.init_seconds),
    )


def _rounded(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds)


def _model_status(revision: Revision) -> ModelStatus | None:
    model = find_source(revision.sources, names.MODEL_VOLUME)
    if model is None:
        return None
    facts = model.facts or ModelFacts()
    return ModelStatus(commit=model.commit, architecture=facts.architecture, weight_bytes=facts.weight_bytes)
