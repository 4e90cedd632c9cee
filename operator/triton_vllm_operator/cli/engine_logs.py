"""Which lines of a serving pod's log are the engine's: the server says most of them, and little. Pure."""

import re
from typing import Final

# Of kubectl logs --prefix: [pod/NAME/CONTAINER] LINE.
_PREFIX: Final = re.compile(r"^\[pod/(?P<pod>[^/\]]+)/[^\]]+\] ?(?P<line>.*)$")
# Triton's own: I0131 08:30:00.000000 1 server.cc:674] ..., its tables, and what it says wherever there is no GPU.
_SERVERS: Final = re.compile(r"^[IWEF]\d{4} \d{2}:\d{2}:|^[+|]|^\s*$|^=+$|^Error: Failed to initialize NVML")


def engine_line(line: str) -> str | None:
    """A line with its pod, if the engine said it; None if the server did."""
    found = _PREFIX.match(line)
    pod, said = (found["pod"], found["line"]) if found else ("", line)
    if _SERVERS.match(said):
        return None
    return f"{pod}: {said}" if pod else said
