"""What may go to a terminal: a pod, and whoever writes its files, says what it likes. Pure."""


def printable(text: str) -> str:
    """The text without what would move a cursor or rename a window; lines and tabs stay."""
    return "".join(character for character in text if character.isprintable() or character in "\n\t")
