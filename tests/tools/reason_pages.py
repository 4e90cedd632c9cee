"""A page for each reason that is no good news: from reasons.yaml beside this, and from the table of engines' texts."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import yaml
from pydantic import BaseModel, ConfigDict

from cluster.paths import REPOSITORY
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.health.failures.signatures import Signature, load_signatures

SAID: Final = Path(__file__).with_name("reasons.yaml")
FINE: Final = frozenset(
    {
        Reason.VALID,
        Reason.FITS,
        Reason.GENERATES,
        Reason.ALL_REPLICAS_GENERATE,
        Reason.SCALED_TO_ZERO,
        Reason.SETTLED,
        Reason.NOTHING_FAILED,
        Reason.NOT_STALLED,
    }
)
"""Nothing is to be done about these."""
FOLDER: Final = REPOSITORY / "docs" / "reasons"
_MADE: Final = (
    "<!-- From signatures.yaml (health/failures) and reasons.yaml (tests/tools); `make generate` makes it. -->"
)
_NONE_KEPT: Final = " After five such ends no pod is kept, until the spec changes or after `kubectl llm restart NAME`."
_OWNERS: Final = {"vllm": "vllm-project/vllm"}


class Said(BaseModel):
    """What is said of a reason of the operator's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    means: str
    helps: tuple[str, ...]


def render_pages() -> Iterator[tuple[Path, str]]:
    """Every page with what should stand in it."""
    by_reason: dict[str, list[Signature]] = defaultdict(list)
    for signature in load_signatures():
        by_reason[signature.reason.value].append(signature)
    said = {reason: Said.model_validate(entry) for reason, entry in yaml.safe_load(SAID.read_text()).items()}
    for reason in sorted({*said, *by_reason}):
        parts = [_render_said(said[reason])] if reason in said else []
        parts += [_render_signatures(by_reason[reason])] if reason in by_reason else []
        yield FOLDER / f"{reason}.md", f"# {reason}\n\n{_MADE}\n\n" + "\n".join(parts)


def _render_said(said: Said) -> str:
    lines = [said.means, "", "What helps:", "", *(f"- {line}" for line in said.helps)]
    return "\n".join(lines) + "\n"


def _render_signatures(signatures: list[Signature]) -> str:
    says = dict.fromkeys(_shown(each.says) for each in signatures)
    helps = dict.fromkeys(_shown(each.do) for each in signatures)
    seen = dict.fromkeys(_link(where) for each in signatures for where in each.seen)
    again = (
        "A new start may help by itself."
        if signatures[0].mends
        else "Until that is done a new start ends as this one did."
    )
    again += _NONE_KEPT if signatures[0].in_vain else ""
    lines = [
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
        return f"this project's {'own programs' if where.endswith('.py') else 'facts'} ({where})"
    owner = _OWNERS.get(repository, repository)
    return f"[{where}](https://github.com/{owner}/issues/{number})" if "/" in owner else where
