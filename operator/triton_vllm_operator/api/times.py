"""Times as Kubernetes writes them: RFC 3339, in UTC, whole seconds."""

from datetime import UTC, datetime
from typing import Final

_LAST_YEAR: Final = 9000
"""Nothing can be added to what lies much later."""
TIME_LENGTH: Final = 20
"""Characters."""
LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
"""For what has no time."""


def format_time(at: datetime) -> str:
    """2026-01-31T08:30:00Z, of a time with a zone."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def parse_time(text: str) -> datetime | None:
    """The time; None of a text that is none, which somebody else must have written."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    if parsed.year >= _LAST_YEAR:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
