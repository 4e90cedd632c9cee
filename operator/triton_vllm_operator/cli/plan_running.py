"""`kubectl llm plan NAME`: what was planned for an LLMDeployment of the cluster, against what its engine allocated."""

import json
from collections.abc import Iterator

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.reasons import ConditionType
from triton_vllm_operator.api.status import Amount, LLMDeploymentStatus, MeasuredMemory, PredictedMemory
from triton_vllm_operator.memory.fit import gib


def print_running(name: str, status: LLMDeploymentStatus, as_json: bool) -> str:
    """Both, as far as the status holds them."""
    found = status.memory_plan
    predicted, measured = (found.predicted, found.measured) if found else (None, None)
    fits = status.condition(ConditionType.MEMORY_FITS)
    verdict = (
        f"MemoryFits={fits.status.value} ({fits.reason}): {fits.message}" if fits else "MemoryFits is not known yet"
    )
    if as_json:
        data: Json = found.model_dump(mode="json", by_alias=True, exclude_none=True) if found else {}
        errors = {row[0]: round(row[3], 4) for row in _rows(predicted, measured) if row[3] is not None}
        return json.dumps({"verdict": fits.reason if fits else "Unknown", **data, "errors": errors}, indent=2) + "\n"
    lines = [f"{name}: {verdict}"]
    if predicted is not None:
        lines.append(f"planned for {predicted.gpu}, with vLLM's model runner {predicted.runner}")
    if rows := print_rows(status):
        lines += ["", *rows]
    else:
        lines.append("nothing was planned or measured")
    return "\n".join(lines) + "\n"


def print_rows(status: LLMDeploymentStatus) -> list[str]:
    """The table of both; empty where neither is known."""
    found = status.memory_plan
    rows = list(_rows(found.predicted, found.measured)) if found else []
    if not rows:
        return []
    return [
        f"{'':12}{'planned':36}{'measured':16}off by",
        *(f"{what:12}{planned:36}{allocated:16}{_percent(error)}".rstrip() for what, planned, allocated, error in rows),
    ]


def _rows(
    predicted: PredictedMemory | None, measured: MeasuredMemory | None
) -> Iterator[tuple[str, str, str, float | None]]:
    """What it is, as planned, as measured, and the plan's error as a part of what was measured."""
    weights = predicted.weights_bytes if predicted else None
    cache = predicted.kv_cache_bytes if predicted else None
    tokens = predicted.kv_cache_tokens if predicted else None
    held = measured or MeasuredMemory()
    if weights is not None or held.weights_bytes is not None:
        yield "weights", _gib(weights), _gib(held.weights_bytes), _error(weights, held.weights_bytes)
    if cache is not None or held.kv_cache_bytes is not None:
        planned = f"{gib(cache.expected)}  ({gib(cache.low)} to {gib(cache.high)})" if cache else ""
        yield "KV cache", planned, _gib(held.kv_cache_bytes), _error(_middle(cache), held.kv_cache_bytes)
    if tokens is not None or held.kv_cache_tokens is not None:
        planned = f"{tokens.expected:,}  ({tokens.low:,} to {tokens.high:,})" if tokens else ""
        counted = "" if held.kv_cache_tokens is None else f"{held.kv_cache_tokens:,}"
        yield "KV tokens", planned, counted, _error(_middle(tokens), held.kv_cache_tokens)
    if held.graph_bytes is not None:
        yield "graphs", "", gib(held.graph_bytes), None
    if held.max_concurrency is not None:
        yield "sequences", "", held.max_concurrency, None


def _middle(amount: Amount | None) -> int | None:
    return amount.expected if amount else None


def _gib(count: int | None) -> str:
    return "" if count is None else gib(count)


def _error(planned: int | None, measured: int | None) -> float | None:
    return planned / measured - 1 if planned is not None and measured else None


def _percent(error: float | None) -> str:
    return "" if error is None else f"{error:+.1%}"
