"""Names of the Hugging Face hub, for the operator and for the program that fetches: the standard library alone."""

import re
from typing import Final

HUB: Final = "https://huggingface.co"
COMMIT_PATTERN: Final = "^[0-9a-f]{40}$"
_COMMIT: Final = re.compile(COMMIT_PATTERN)


def is_commit(revision: str) -> bool:
    """Whether a revision is a full commit, which never moves, and no branch or tag."""
    return _COMMIT.fullmatch(revision) is not None
