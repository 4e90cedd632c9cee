"""What may go to a terminal: a pod, and whoever writes its files, says what it likes. Pure."""

import unicodedata
from typing import Final

_TURNS_TEXT: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""By which what is read is not what stands there: https://trojansource.codes."""


def printable(text: str) -> str:
    """The text without what would move a cursor or rename a window; lines and tabs stay."""
    return "".join(character for character in text if character in "\n\t" or not _acts(character))


def _acts(character: str) -> bool:
    """Whether it is no part of a text; what joins letters, or keeps a line from breaking, is one."""
    return unicodedata.category(character) in ("Cc", "Cs") or character in _TURNS_TEXT
