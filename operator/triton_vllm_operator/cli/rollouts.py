"""`kubectl llm rollout`: what revisions there are, and what the spec would be as it was in one of them. Pure."""

from collections.abc import Iterable
from typing import Final

from pydantic import ValidationError

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.changes import LIVE_FIELDS, find_changes, keep_live, rolling_part
from triton_vllm_operator.api.spec import LLMDeploymentSpec
from triton_vllm_operator.api.status import LLMDeploymentStatus
from triton_vllm_operator.cli.files import Unreadable
from triton_vllm_operator.kube.resources import name_of
from triton_vllm_operator.manifests.revision import Revision, parse_controller_revision

_SHOWN: Final = 3


def read_revisions(bodies: Iterable[Json]) -> tuple[Revision, ...]:
    """Stored revisions, the oldest first; those of another version are left out."""
    found = []
    for body in bodies:
        try:
            found.append(parse_controller_revision(name_of(body), body))
        except ValueError:
            continue
    return tuple(sorted(found, key=lambda revision: revision.number))


def history_lines(revisions: tuple[Revision, ...], status: LLMDeploymentStatus) -> list[str]:
    """One line each: its number, its name, what is other than in the one above, and whether it runs."""
    width = max((len(revision.name) for revision in revisions), default=len("NAME")) + 2
    lines = [f"{'REVISION':10}{'NAME':{width}}CHANGES FROM THE ONE ABOVE"]
    for number, revision in enumerate(revisions):
        changed = _tell_changes(revisions[number - 1], revision) if number else "the first that is kept"
        lines.append(f"{revision.number:<10}{revision.name:{width}}{changed}{_tell_state(revision, status)}".rstrip())
    return lines


def _tell_changes(before: Revision, after: Revision) -> str:
    paths = [change.path for change in find_changes(before.spec, after.spec)]
    shown = paths[:_SHOWN] + ([f"{len(paths) - _SHOWN} more"] if len(paths) > _SHOWN else [])
    return ", ".join(shown) or "what the model or the runtime stood for"


def _tell_state(revision: Revision, status: LLMDeploymentStatus) -> str:
    words = []
    if revision.name == status.revision:
        words.append("runs")
    if revision.name == status.generated:
        words.append("generated last")
    if status.rollback is not None and revision.name == status.rollback.revision:
        words.append(f"did not generate ({status.rollback.reason})")
    return f"  <- {', '.join(words)}" if words else ""


def find_target(
    revisions: tuple[Revision, ...], status: LLMDeploymentStatus, spec: Json, number: int | None
) -> Revision:
    """The revision to go back to: that of a number, or the last that generated, or, if that runs, the one before it.

    Of a spec that is no revision, as one that was refused, that is what runs.

    Raises:
        Unreadable: there is none.
    """
    if number is not None:
        found = next((revision for revision in revisions if revision.number == number), None)
        if found is None:
            known = ", ".join(str(revision.number) for revision in revisions)
            raise Unreadable(f"there is no revision {number}; there are {known or 'none'}")
        return found
    if status.rollback is not None and (to := _named(revisions, status.rollback.to)) is not None:
        # It runs already; with it in the spec, nothing is rolled back any more.
        return to
    runs = _named(revisions, status.revision)
    if runs is not None and not _is_of(spec, runs):
        return runs
    generated = _named(revisions, status.generated)
    if generated is not None and generated != runs:
        # Those between the two never did.
        return generated
    before = [revision for name in status.generated_before or () if (revision := _named(revisions, name)) is not None]
    if good := [revision for revision in before if revision != runs]:
        return good[0]
    earlier = [revision for revision in revisions if runs is not None and revision.number < runs.number]
    if not earlier:
        known = ", ".join(str(revision.number) for revision in revisions)
        why = "there is no earlier revision" if runs is not None else "it is not known which revision runs"
        raise Unreadable(f"{why}; there are {known or 'none'}: --to-revision takes one")
    return earlier[-1]


def _is_of(spec: Json, revision: Revision) -> bool:
    """Whether a spec asks for a revision."""
    try:
        return rolling_part(LLMDeploymentSpec.model_validate(spec)) == revision.spec
    except ValidationError:
        return False


def _named(revisions: tuple[Revision, ...], name: str | None) -> Revision | None:
    return next((revision for revision in revisions if revision.name == name), None)


def restore(spec: Json, revision: Revision) -> Json:
    """The spec as it was, with what restarts nothing as it is now."""
    was = revision.spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=set(LIVE_FIELDS))
    return keep_live(was, spec)
