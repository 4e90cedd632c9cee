"""How many models are looked into at once, over all LLMDeployments."""

from datetime import datetime, timedelta
from typing import Final

from triton_vllm_operator.kube.resources import Key

MOST: Final = 8
_LONGEST: Final = timedelta(minutes=10)
"""After which a Job that still runs keeps no other from its turn: its pod may have no place."""


class Turns:
    """Who looks into a model now. It is seen from the Jobs themselves, so that a restart finds it out again."""

    def __init__(self) -> None:
        self._began: dict[Key, datetime] = {}

    def note(self, key: Key, began: datetime | None) -> None:
        """The Job of an LLMDeployment began then, or there is none at work."""
        if began is None:
            self._began.pop(key, None)
        else:
            self._began[key] = began

    def is_free(self, key: Key, now: datetime) -> bool:
        """Whether the Job of an LLMDeployment may begin."""
        others = (began for other, began in self._began.items() if other != key)
        return sum(now - began < _LONGEST for began in others) < MOST
