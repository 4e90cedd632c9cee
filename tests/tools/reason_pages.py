"""A page for each failure that has a name, from the table of its texts."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cluster.paths import REPOSITORY
from triton_vllm_operator.health.failures.signatures import Signature, load_signatures

FOLDER: Final = REPOSITORY / "docs" / "reasons"
_OWNERS: Final = {"vllm": "vllm-project/vllm"}


def render_pages() -> Iterator[tuple[Path, str]]:
    """Every page with what should stand in it."""
    by_reason: dict[str, list[Signature]] = defaultdict(list)
    for signature in load_signatures():
        by_reason[signature.reason.value].append(signature)
    for reason, signatures in by_reason.items():
        yield FOLDER / f"{reason}.md", _render(reason, signatures)


def _render(reason: str, signatures: list[Signature]) -> str:
    says = dict.fromkeys(_shown(each.says) for each in signatures)
    helps = dict.fromkeys(_shown(each.do) for each in signatures)
    seen = dict.fromkeys(_link(where) for each in signatures for where in each.seen)
    again = "A new start may help by itself." if signatures[0].mends else "A new start ends as this one did."
    lines = [
        f"# {reason}",
        "",
        "<!-- From operator/triton_vllm_operator/health/failures/signatures.yaml; `make generate` makes this page. -->",
        "",
        "The engine ended, and said by a text of its own:",
        "",
        *(f"- {line}" for line in says),
        "",
        "What helps:",
        "",
        *(f"- {line}" for line in helps),
        "",
        f"{again} Seen in {', '.join(seen)}.",
    ]
    return "\n".join(lines) + "\n"


def _shown(template: str) -> str:
    return template.replace("{", "*").replace("}", "*")


def _link(where: str) -> str:
    repository, _, number = where.partition("#")
    if not number:
        return f"this project's facts ({where})"
    owner = _OWNERS.get(repository, repository)
    return f"[{where}](https://github.com/{owner}/issues/{number})" if "/" in owner else where
