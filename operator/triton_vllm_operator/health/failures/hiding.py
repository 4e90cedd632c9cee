"""Credentials do not get from a pod's log into the status, which more people may read. Pure."""

import re
from typing import Final

_SECRETS: Final = re.compile(
    r"(?P<token>\bhf_|\bsk-|\bgh[pousr]_|\bAKIA|[Bb]earer\s+)[^\s'\"@,;)]{6,}"
    r"|(?P<password>://[^/\s:@]*:)[^\s/@]+(?=@)"
    r"|(?P<jwt>(?<![\w-])eyJ)[\w-]+\.[\w.-]+"
)
"""Tokens of the hub and of others, headers, passwords in addresses, JSON Web Tokens."""


def hide_secrets(text: str) -> str:
    """The text with credentials cut to their kind."""
    return _SECRETS.sub(lambda found: f"{found[found.lastgroup or 0]}...", text)
