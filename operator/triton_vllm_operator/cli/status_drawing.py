"""A status at a terminal: colours, and bars that grow while something is under way (status_view.py has the words)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from triton_vllm_operator.cli.cluster import Placed, Running
from triton_vllm_operator.cli.status_view import StepRow, find_sections, headline, is_ready, step_line
from triton_vllm_operator.cli.terminal import printable

_WIDTH: Final = 40


def draw_status(running: Running, pods: tuple[Placed, ...], now: datetime) -> RenderableType:
    """As one thing that rich prints."""
    parts: list[RenderableType] = [Text(printable(headline(running)), style="green" if is_ready(running) else "yellow")]
    parts += [Text(printable(f"  {running.status.url}"), style="cyan")] if running.status.url else []
    for title, contents in find_sections(running, pods, now):
        longest = max((row.seconds for row in contents if isinstance(row, StepRow)), default=0.0) or 1.0
        parts += ["", Text(title, style="bold")]
        parts += [_bar(row, longest) if isinstance(row, StepRow) else Text(printable(row)) for row in contents]
    return Group(*parts)


def _bar(row: StepRow, longest: float) -> Text:
    cells = round(row.seconds / longest * _WIDTH)
    colour = "green" if row.is_over else "yellow"
    return Text(printable(f"{step_line(row):44} ")) + Text("█" * cells, style=colour)


@contextmanager
def live(console: Console) -> Iterator[Callable[[RenderableType], None]]:
    """Something that is drawn in place of what was drawn before."""
    with Live(console=console, auto_refresh=False) as drawn:
        yield lambda drawing: drawn.update(drawing, refresh=True)
