"""`kubectl llm plan` of an engine on a CPU: its cache, weights and processes, against its container's memory."""

import json
from dataclasses import dataclass

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.memory.amounts import Range
from triton_vllm_operator.memory.cpu import CpuCase, find_cpu_fit, find_needed
from triton_vllm_operator.memory.fit import Finding, Fit, gib
from triton_vllm_operator.memory.plan import Plan


@dataclass(frozen=True, slots=True)
class CpuAnswer:
    """All that the command says."""

    case: CpuCase
    plan: Plan
    needed: Range
    finding: Finding
    assumptions: tuple[str, ...] = ()

    @property
    def does_not_fit(self) -> bool:
        """Whether it is certain."""
        return self.finding.fit is Fit.DOES_NOT_FIT


def answer_on_cpu(case: CpuCase, uncounted: str) -> CpuAnswer:
    """Plan one start; `uncounted` is what of its spec no plan counts."""
    plan = case.plan()
    assumptions = (say_uncounted(uncounted),) if uncounted else ()
    return CpuAnswer(case, plan, find_needed(case, plan), find_cpu_fit(case, plan), assumptions)


def say_uncounted(what: str) -> str:
    """That a plan leaves something out."""
    return f"not counted: {what}; in a cluster the operator says that it does not know"


def range_data(amount: Range) -> Json:
    """For programs."""
    return {"low": amount.low, "expected": amount.expected, "high": amount.high}


def headline_on_cpu(answer: CpuAnswer) -> str:
    """The verdict and what it rests on."""
    case = answer.case
    verdict, _, why = answer.finding.message.partition(": ")
    says = f"{case.shape.architecture} {'is tight' if verdict == 'tight' else verdict}"
    return f"{says} on a CPU with vLLM {case.settings.vllm}: {why}" if why else says


def print_on_cpu(answer: CpuAnswer, as_json: bool) -> str:
    """The plan as text for people, or as JSON for programs."""
    if as_json:
        return json.dumps(_as_data(answer), indent=2) + "\n"
    plan, case, layout = answer.plan, answer.case, answer.plan.layout
    rows = (
        ("limit", gib(case.limit) if case.limit is not None else "none"),
        ("needed", f"{gib(answer.needed.expected)}  ({gib(answer.needed.low)} to {gib(answer.needed.high)})"),
        ("weights", gib(plan.weights)),
        ("KV cache", gib(case.cache)),
        ("KV tokens", f"{plan.tokens.expected:,}"),
        ("a token", f"{layout.token_bytes:,} bytes, in blocks of {layout.block_tokens}"),
        ("at once", f"{case.cache / plan.sequence_bytes:.2f} sequences of {plan.length} tokens"),
    )
    return (
        "\n".join((headline_on_cpu(answer), "", *(f"{name:14}{text}" for name, text in rows), *_remarks(answer))) + "\n"
    )


def _remarks(answer: CpuAnswer) -> list[str]:
    return ["", *(f"assumed: {assumption}" for assumption in answer.assumptions)] if answer.assumptions else []


def _as_data(answer: CpuAnswer) -> Json:
    plan, case = answer.plan, answer.case
    return {
        "verdict": answer.finding.fit.value,
        "message": answer.finding.message,
        "vllm": case.settings.vllm,
        "runner": case.settings.runner.value,
        "limitBytes": case.limit,
        "neededBytes": range_data(answer.needed),
        "weightsBytes": plan.weights,
        "kvBytesPerToken": plan.layout.token_bytes,
        "kvCacheBytes": range_data(plan.cache),
        "kvCacheTokens": range_data(plan.tokens),
        "maxModelLen": plan.length,
        "assumptions": list(answer.assumptions),
    }
