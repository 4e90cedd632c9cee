"""A plan as text for people, and as JSON for programs."""

import json
from collections.abc import Iterator
from typing import Final

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.cli.plan import Answer, Unknown
from triton_vllm_operator.cli.plan_cpu import CpuAnswer, headline_on_cpu, print_on_cpu, range_data
from triton_vllm_operator.memory.amounts import Range
from triton_vllm_operator.memory.cache import CacheLayout, blocks_of_sequence
from triton_vllm_operator.memory.fit import gib, say_why
from triton_vllm_operator.memory.plan import Plan
from triton_vllm_operator.memory.verdict import Judged, Verdict

_BAR: Final = 60
"""Characters for the whole GPU."""
_REMEDY: Final = {Verdict.DOES_NOT_FIT: "to make it fit", Verdict.TIGHT: "it fits for certain with"}
_TYPICAL: Final = 2048
"""Tokens of prompt and answer together, for the concurrency that is shown beside that of the longest sequence."""
WORDS: Final = {
    Verdict.FITS: "fits",
    Verdict.TIGHT: "is tight",
    Verdict.DOES_NOT_FIT: "does not fit",
}


def print_plan(answer: Answer | CpuAnswer | Unknown, as_json: bool) -> str:
    """The plan."""
    if isinstance(answer, CpuAnswer):
        return print_on_cpu(answer, as_json)
    if isinstance(answer, Unknown):
        data = {"verdict": "Unknown", "why": answer.why}
        return json.dumps(data, indent=2) + "\n" if as_json else f"unknown: {answer.why}\n"
    if as_json:
        return json.dumps(_as_data(answer), indent=2) + "\n"
    return "\n".join(_lines(answer)) + "\n"


def _as_data(answer: Answer) -> Json:
    plan, case, layout = answer.plan, answer.case, answer.plan.layout
    return {
        "verdict": answer.judged.verdict.value,
        **({"nodes": {"fit": found.fit.value, "message": found.message}} if (found := answer.finding) else {}),
        "vllm": case.settings.vllm,
        "runner": case.settings.runner.value,
        "gpu": {"product": case.gpu.product, "bytes": case.gpu.total_bytes},
        "requestedBytes": plan.requested,
        "weightsBytes": plan.weights,
        "loadPeakBytes": plan.load_peak,
        "activationBytes": range_data(plan.activations),
        "nonTorchBytes": range_data(plan.beside_torch),
        "graphBytes": range_data(plan.graphs),
        "kvBytesPerToken": layout.token_bytes,
        "kvCacheBytes": range_data(plan.cache),
        "kvCacheTokens": range_data(plan.tokens),
        "blocks": {"bytes": layout.block_bytes, "tokens": layout.block_tokens, "groups": len(layout.groups)},
        "wastedPart": round(_waste(layout, min(_TYPICAL, plan.length)), 4),
        "maxModelLen": plan.length,
        "bytesPerSequence": plan.sequence_bytes,
        "concurrency": _concurrency(plan, plan.sequence_bytes),
        "utilizationCeiling": round(answer.judged.ceiling, 4),
        "maxNumSeqs": answer.batch.sequences,
        "maxNumBatchedTokens": answer.batch.tokens,
        "changes": [advice.text for advice in answer.advice],
        "assumptions": list(answer.assumptions),
    }


def _say_kept(layout: CacheLayout, typical: int) -> Iterator[tuple[str, str]]:
    """What tokens and states of a sequence take."""
    if layout.keeps_tokens:
        yield "a token", f"{layout.token_bytes:,} bytes, in blocks of {layout.block_tokens}"
        yield "waste", f"{_waste(layout, typical):.2%} of {typical} tokens: half of the last block, on average"
    if layout.keeps_states:
        groups = sum(group.kind.state is not None for group in layout.groups)
        each = "one for each block of tokens" if layout.state_blocks is None else f"{layout.state_blocks}"
        yield "states", f"of each sequence {each} in {groups} groups of layers, {gib(layout.block_bytes)} each"


def _waste(layout: CacheLayout, tokens: int) -> float:
    """The part of a sequence's cache that its last block leaves empty: what PagedAttention is about."""
    half = layout.block_tokens / 2 if layout.keeps_tokens else 0
    return half / (tokens + half)


def _concurrency(plan: Plan, sequence_bytes: int) -> float:
    return round(max(0, plan.cache.expected) / sequence_bytes, 2)


def _lines(answer: Answer) -> list[str]:
    return [headline(answer), "", *_bar(answer), "", *amounts(answer), "", *_comparison(answer), "", *remarks(answer)]


def headline(answer: Answer) -> str:
    """The verdict and what it rests on."""
    if answer.uncounted:
        return f"unknown, since {answer.uncounted} is not counted; without it: {_verdict_line(answer)}"
    return _verdict_line(answer)


def _verdict_line(answer: Answer) -> str:
    case = answer.case
    if answer.finding is not None:
        return f"{case.shape.architecture} with vLLM {case.settings.vllm} {answer.finding.message}"
    gpus = case.settings.tensor_ranks * case.settings.pipeline_ranks
    of = f"{gpus} x {case.gpu.product}" if gpus > 1 else case.gpu.product
    verdict = f"{case.shape.architecture} {WORDS[answer.judged.verdict]} on {of} with vLLM {case.settings.vllm}"
    return f"{verdict}: {say_why(answer.plan, answer.judged, case.settings)}"


def verdict_of(answer: Answer | CpuAnswer | Unknown) -> tuple[str, str]:
    """In a word and in a sentence."""
    if isinstance(answer, CpuAnswer):
        return answer.finding.fit.value, headline_on_cpu(answer)
    if isinstance(answer, Unknown):
        return "Unknown", f"unknown: {answer.why}"
    word = answer.finding.fit.value if answer.finding is not None else answer.judged.verdict.value
    return word, headline(answer)


def remarks(answer: Answer) -> list[str]:
    """What would make it fit, and what was taken for granted."""
    return [
        *(f"{_REMEDY[answer.judged.verdict]}: {advice.text}" for advice in answer.advice),
        *(f"assumed: {assumption}" for assumption in answer.assumptions),
    ]


def _bar(answer: Answer) -> list[str]:
    plan, total = answer.plan, answer.case.gpu.total_bytes
    parts = (
        ("W", plan.weights),
        ("A", plan.activations.expected + plan.beside_torch.expected),
        ("G", plan.graphs.expected),
        ("K", max(0, plan.cache.expected)),
    )
    drawn = "".join(letter * min(_BAR, round(size / total * _BAR)) for letter, size in parts)[:_BAR]
    return [
        f"[{drawn.ljust(_BAR, '.')}] {gib(total)}",
        " W weights  A activations and the like  G graphs  K KV cache  . free",
    ]


def amounts(answer: Answer) -> list[str]:
    """The parts, a line each."""
    plan, layout = answer.plan, answer.plan.layout
    typical = min(_TYPICAL, plan.length)
    blocks = blocks_of_sequence(layout, typical, answer.batch.tokens, answer.case.settings.vllm)
    is_higher = plan.load_peak > plan.weights
    rows = [
        ("asked for", f"{gib(plan.requested)}  gpuMemoryUtilization {answer.case.settings.utilization:g}"),
        ("weights", gib(plan.weights) + (f"  {gib(plan.load_peak)} while they are loaded" if is_higher else "")),
        ("activations", _doubt(plan.activations)),
        ("beside torch", _doubt(plan.beside_torch)),
        ("graphs", _doubt(plan.graphs)),
        ("KV cache", _doubt(plan.cache) if plan.cache.high > 0 else "none is left"),
        ("KV tokens", f"{plan.tokens.expected:,}  ({plan.tokens.low:,} to {plan.tokens.high:,})"),
        *_say_kept(layout, typical),
        ("at once", f"{_concurrency(plan, plan.sequence_bytes):g} sequences of {plan.length} tokens"),
        ("", f"{_concurrency(plan, blocks * layout.block_bytes):g} of {typical}"),
    ]
    return [f"{name:14}{text}" for name, text in rows]


def _comparison(answer: Answer) -> list[str]:
    lines = [f"{'with instead':26}{'verdict':14}{'weights':>11}{'KV cache':>12}{'KV tokens':>14}"]
    for other, plan, judged in answer.others:
        lines.append(
            f"{other.text:26}{_verdict(judged):14}{gib(plan.weights):>11}"
            f"{gib(plan.cache.expected):>12}{plan.tokens.expected:>14,}"
        )
    return lines


def _verdict(judged: Judged) -> str:
    return WORDS[judged.verdict]


def _doubt(amount: Range) -> str:
    if amount.low == amount.high:
        return gib(amount.expected)
    return f"{gib(amount.expected)}  ({gib(amount.low)} to {gib(amount.high)})"
