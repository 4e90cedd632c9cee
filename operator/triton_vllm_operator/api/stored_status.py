"""The status as it is stored, without what this version does not understand."""

import copy
from typing import Any, Final

from pydantic import ValidationError

from triton_vllm_operator.api.status import LLMDeploymentStatus

Path = tuple[int | str, ...]
_MOST_ROUNDS: Final = 32
"""In each, all that one look finds is taken out."""


def read_status(stored: object) -> LLMDeploymentStatus:
    """What can be read of a stored status.

    Another version wrote it, or somebody else did: what pods were replaced, and why none is kept, must not be lost
    over a field beside it.
    """
    kept = copy.deepcopy(stored) if isinstance(stored, dict) else {}
    for _ in range(_MOST_ROUNDS):
        try:
            return LLMDeploymentStatus.model_validate(kept)
        except ValidationError as error:
            odd = dict.fromkeys(_find_odd(found["loc"], found["type"]) for found in error.errors(include_url=False))
            # From the end: places in lists stay what they are.
            for path in reversed(odd):
                _remove(kept, path)
    return LLMDeploymentStatus()


def _find_odd(place: Path, error: str) -> Path:
    """An unknown member; of a wrong value the item of the list that it stands in, or its whole member."""
    last_item = max((depth for depth, name in enumerate(place) if isinstance(name, int)), default=0)
    return place if error == "extra_forbidden" else place[: last_item + 1]


def _remove(stored: dict[str, Any], path: Path) -> None:
    holder: Any = stored
    for name in path[:-1]:
        holder = _member(holder, name)
    if _member(holder, path[-1]) is not None or (isinstance(holder, dict) and path[-1] in holder):
        del holder[path[-1]]


def _member(holder: Any, name: int | str) -> Any:
    """None where there is none."""
    if isinstance(holder, dict):
        return holder.get(name)
    return holder[name] if isinstance(holder, list) and isinstance(name, int) and name < len(holder) else None
