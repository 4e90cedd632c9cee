"""A plan at a terminal: a bar and a table in colours. Elsewhere it is plain text (plan_printing.py)."""

from typing import Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from triton_vllm_operator.cli.plan import Answer
from triton_vllm_operator.cli.plan_printing import WORDS, amounts, headline, remarks
from triton_vllm_operator.memory.fit import gib
from triton_vllm_operator.memory.verdict import Verdict

_WIDTH: Final = 60
_COLOURS: Final = {Verdict.FITS: "green", Verdict.TIGHT: "yellow", Verdict.DOES_NOT_FIT: "red"}


def draw_plan(answer: Answer, console: Console) -> None:
    """Print it."""
    colour = _COLOURS[answer.judged.verdict]
    lines: tuple[RenderableType, ...] = (
        Text(headline(answer), style=colour),
        "",
        _bar(answer),
        "",
        *(Text(line) for line in amounts(answer)),
        "",
        _comparison(answer),
        *(Text(line) for line in remarks(answer)),
    )
    console.print(Group(*lines))


def _bar(answer: Answer) -> Text:
    plan, total = answer.plan, answer.case.gpu.total_bytes
    parts = (
        ("weights", "blue", plan.weights),
        ("activations and the like", "magenta", plan.activations.expected + plan.beside_torch.expected),
        ("graphs", "cyan", plan.graphs.expected),
        ("KV cache", "green", max(0, plan.cache.expected)),
    )
    bar, legend, used = Text(), Text("\n"), 0
    for name, colour, size in parts:
        cells = min(round(size / total * _WIDTH), _WIDTH - used)
        used += cells
        bar.append("█" * cells, style=colour)
        legend.append(f"█ {name}  ", style=colour)
    bar.append("░" * (_WIDTH - used), style="bright_black")
    return bar + Text(f" {gib(total)}") + legend + Text("░ free", style="bright_black")


def _comparison(answer: Answer) -> Table:
    table = Table("with instead", "verdict", box=None, padding=(0, 2, 0, 0))
    for name in ("weights", "KV cache", "KV tokens"):
        table.add_column(name, justify="right")
    for other, plan, judged in answer.others:
        verdict = Text(WORDS[judged.verdict], style=_COLOURS[judged.verdict])
        table.add_row(other.text, verdict, gib(plan.weights), gib(plan.cache.expected), f"{plan.tokens.expected:,}")
    return table
