"""A status at a terminal: colours, and bars that grow while something is under way (status_view.py has the words)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from triton_vllm_operator.cli.cluster import Placed, Running
from triton_vllm_operator.cli.status_view import (
    StepRow,
    condition_lines,
    headline,
    is_ready,
    pod_lines,
    step_line,
    step_rows,
    timeline_title,
)

_WIDTH: Final = 40


def draw_status(running: Running, pods: tuple[Placed, ...], now: datetime, memory: list[str]) -> RenderableType:
    """As one thing that rich prints."""
    status = running.status
    parts: list[RenderableType] = [Text(headline(running), style="green" if is_ready(running) else "yellow")]
    parts += [Text(f"  {status.url}", style="cyan")] if status.url else []
    parts += ["", Text("conditions", style="bold"), *map(Text, condition_lines(status, now))]
    if rows := step_rows(status, now):
        longest = max(row.seconds for row in rows) or 1.0
        parts += ["", Text(timeline_title(status), style="bold"), *(_bar(row, longest) for row in rows)]
    if memory:
        parts += ["", Text("memory", style="bold"), *(Text(f"  {line}") for line in memory)]
    parts += ["", Text("pods", style="bold"), *map(Text, pod_lines(pods, now) if pods else ["  none"])]
    return Group(*parts)


def _bar(row: StepRow, longest: float) -> Text:
    cells = round(row.seconds / longest * _WIDTH)
    colour = "green" if row.is_over else "yellow"
    return Text(f"{step_line(row):44} ") + Text("█" * cells, style=colour)


@contextmanager
def live(console: Console) -> Iterator[Callable[[RenderableType], None]]:
    """Something that is drawn in place of what was drawn before."""
    with Live(console=console, auto_refresh=False) as drawn:
        yield lambda drawing: drawn.update(drawing, refresh=True)
