"""The Grafana board of the chart: a table of panels, and the JSON that Grafana reads."""

import json
from dataclasses import dataclass
from typing import Final

_P: Final = "triton_vllm_operator"
_ONE: Final = '{namespace=~"$namespace",name=~"$name"}'
_ENGINE: Final = '{namespace=~"$namespace",llmdeployment=~"$name"}'
_SOURCE: Final = {"type": "prometheus", "uid": "$datasource"}
_WIDTH, _HEIGHT, _COLUMNS = 8, 7, 3


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph: its queries, each with the legend of its lines."""

    title: str
    unit: str
    """As Grafana calls it."""
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"


def _rate(counter: str, by: str, labels: str = "") -> str:
    return f"sum by ({by}) (rate({counter}{labels}[$__rate_interval]))"


def _quantile(part: float, histogram: str, by: str = "", labels: str = "") -> str:
    groups = f"le, {by}" if by else "le"
    return f"histogram_quantile({part}, {_rate(f'{histogram}_bucket', groups, labels)})"


_OF: Final = "namespace, llmdeployment"
_NAMED: Final = "{{namespace}}/{{name}}"
_SERVED: Final = "{{namespace}}/{{llmdeployment}}"

ROWS: Final[tuple[tuple[str, tuple[Panel, ...]], ...]] = (
    (
        "All LLMDeployments",
        (
            Panel("Ready", "short", ((f"sum({_P}_llmdeployment_ready{_ONE})", "ready"),), "stat"),
            Panel(
                "Not ready, by reason",
                "short",
                ((f"sum by (reason) ({_P}_llmdeployment_not_ready{_ONE})", "{{reason}}"),),
            ),
            Panel(
                "Pods replaced",
                "short",
                ((f"sum by (reason) (increase({_P}_replacements_total[1h]))", "{{reason}}, within an hour"),),
            ),
        ),
    ),
    (
        "Proof of life",
        (
            Panel(
                "Pods that generate, and that are wanted",
                "short",
                (
                    (f"{_P}_llmdeployment_serving_pods{_ONE}", _NAMED),
                    (f"{_P}_llmdeployment_wanted_pods{_ONE}", f"{_NAMED} wanted"),
                ),
            ),
            Panel("Age of the last proof", "s", ((f"{_P}_llmdeployment_last_proof_age_seconds{_ONE}", _NAMED),)),
            Panel("Seconds of the last proof", "s", ((f"{_P}_llmdeployment_last_proof_seconds{_ONE}", _NAMED),)),
        ),
    ),
    (
        "Engines",
        (
            Panel(
                "Tokens a second",
                "short",
                (
                    (_rate("vllm:generation_tokens_total", _OF, _ENGINE), f"{_SERVED} generated"),
                    (_rate("vllm:prompt_tokens_total", _OF, _ENGINE), f"{_SERVED} of prompts"),
                ),
            ),
            Panel(
                "Requests",
                "short",
                (
                    (f"sum by ({_OF}) (vllm:num_requests_running{_ENGINE})", f"{_SERVED} running"),
                    (f"sum by ({_OF}) (vllm:num_requests_waiting{_ENGINE})", f"{_SERVED} waiting"),
                ),
            ),
            Panel(
                "KV cache in use", "percentunit", ((f"vllm:kv_cache_usage_perc{_ENGINE}", f"{_SERVED} {{{{pod}}}}"),)
            ),
            Panel(
                "Seconds until the first token",
                "s",
                tuple(
                    (_quantile(part, "vllm:time_to_first_token_seconds", _OF, _ENGINE), f"{_SERVED} p{part * 100:.0f}")
                    for part in (0.5, 0.95)
                ),
            ),
            Panel(
                "Requests that lost their blocks (preemptions), a minute",
                "short",
                ((f"60 * {_rate('vllm:num_preemptions_total', _OF, _ENGINE)}", _SERVED),),
            ),
            Panel(
                "Tokens of the KV cache, planned and measured",
                "short",
                (
                    (f"{_P}_llmdeployment_planned_kv_tokens{_ONE}", f"{_NAMED} planned"),
                    (f"{_P}_llmdeployment_measured_kv_tokens{_ONE}", f"{_NAMED} measured"),
                ),
            ),
        ),
    ),
    (
        "Operator",
        (
            Panel("Probes a second", "short", ((_rate(f"{_P}_probes_total", "outcome"), "{{outcome}}"),)),
            Panel("Reconciles a second", "short", ((_rate(f"{_P}_reconciles_total", "result"), "{{result}}"),)),
            Panel("Seconds of a reconcile", "s", ((_quantile(0.99, f"{_P}_reconcile_seconds"), "p99"),)),
            Panel("Oldest that waits", "s", ((f"{_P}_queue_oldest_seconds", "queue"),)),
            Panel(
                "Requests to the API server, a second",
                "short",
                ((_rate(f"{_P}_api_requests_total", "verb, code"), "{{verb}} {{code}}"),),
            ),
            Panel(
                "Memory", "bytes", (("process_resident_memory_bytes" + '{pod=~".*triton-vllm-operator.*"}', "{{pod}}"),)
            ),
        ),
    ),
)


def render_board() -> str:
    """The board as Grafana imports it."""
    panels: list[dict[str, object]] = []
    top = 0
    for row, contents in ROWS:
        panels.append(_place({"type": "row", "title": row, "collapsed": False, "panels": []}, top, 0, 24, 1))
        top += 1
        for place, panel in enumerate(contents):
            left = place % _COLUMNS * _WIDTH
            panels.append(_place(_panel(panel), top + place // _COLUMNS * _HEIGHT, left, _WIDTH, _HEIGHT))
        top += -(-len(contents) // _COLUMNS) * _HEIGHT
    board = {
        "uid": "triton-vllm-operator",
        "title": "LLMDeployments",
        "tags": ["triton", "vllm"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_datasource(), _variable("namespace"), _variable("name", '{namespace=~"$namespace"}')]},
        "panels": [{"id": number, **panel} for number, panel in enumerate(panels, 1)],
    }
    return json.dumps(board, indent=1) + "\n"


def _place(panel: dict[str, object], top: int, left: int, width: int, height: int) -> dict[str, object]:
    return {**panel, "gridPos": {"x": left, "y": top, "w": width, "h": height}}


def _panel(panel: Panel) -> dict[str, object]:
    targets = [
        {"refId": chr(ord("A") + number), "datasource": _SOURCE, "expr": expression, "legendFormat": legend}
        for number, (expression, legend) in enumerate(panel.queries)
    ]
    defaults = {"unit": panel.unit, "min": 0}
    return {
        "type": panel.kind,
        "title": panel.title,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": targets,
    }


def _datasource() -> dict[str, object]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variable(name: str, labels: str = "") -> dict[str, object]:
    query = f"label_values({_P}_llmdeployment_ready{labels}, {name})"
    many = {"multi": True, "includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}}
    return {"name": name, "type": "query", "datasource": _SOURCE, "query": query, "refresh": 2, **many}
