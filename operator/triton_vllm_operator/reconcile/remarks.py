"""What is said beside the conditions of an LLMDeployment that serves. Pure."""

from triton_vllm_operator.manifests.sources import place_sources
from triton_vllm_operator.reconcile.model import Observed
from triton_vllm_operator.reconcile.plan import Plan
from triton_vllm_operator.reconcile.status import find_running_engine
from triton_vllm_operator.sources.report import parse_report


def find_differences(observed: Observed, plan: Plan) -> tuple[str, ...]:
    """Where an engine of the revision runs otherwise than was rendered."""
    running = find_running_engine(observed, plan.revision) if plan.revision else None
    return (running.differences or ()) if running else ()


def find_warnings(observed: Observed, plan: Plan) -> tuple[str, ...]:
    """What was found in the model's files and its adapters of which only the engine can tell whether it does harm."""
    return (*_of_files(observed, plan), *_useless_adapters(observed, plan))


def _of_files(observed: Observed, plan: Plan) -> tuple[str, ...]:
    """What the program that checks models warned of, in its Job or before an engine's start."""
    if plan.revision is None:
        return ()
    fields = {placed.volume: placed.field for placed in place_sources(plan.revision.spec)}
    messages = dict.fromkeys(
        pod.prepared for pod in observed.pods if pod.revision == plan.revision.hash and pod.prepared
    )
    reports = [report for message in messages if (report := parse_report(message)) is not None]
    sources = (*plan.revision.sources, *(source for report in reports for source in report.sources))
    found = (
        f"{fields.get(source.volume, 'spec.model')}: {source.facts.warning}"
        for source in sources
        if source.facts is not None and source.facts.warning
    )
    return tuple(dict.fromkeys(found))


def _useless_adapters(observed: Observed, plan: Plan) -> tuple[str, ...]:
    """LoRA adapters that change nothing or cannot be loaded, as the pods of the revision were found to answer."""
    current = plan.revision.hash if plan.revision else ""
    gates = [pod.gate for pod in observed.pods if pod.revision == current and pod.gate is not None]
    faults = sorted({fault.partition(": ") for gate in gates for fault in gate.adapter_faults})
    return tuple(f"spec.model.loraAdapters[{name}]: {found}" for name, _, found in faults)
