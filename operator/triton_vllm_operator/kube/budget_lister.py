"""Lists other people's PodDisruptionBudgets of a namespace, before one of ours is made. This module does I/O.

A pod that two of them select cannot be evicted at all: the API server answers with an error, and a drain never ends.
https://kubernetes.io/docs/tasks/run-application/configure-pdb/
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from triton_vllm_operator.api import names
from triton_vllm_operator.api.base import Json
from triton_vllm_operator.kube.client import KubeClient
from triton_vllm_operator.kube.errors import Gone, Refused
from triton_vllm_operator.kube.kept import REFUSED_SECONDS, Kept
from triton_vllm_operator.kube.resources import DISRUPTION_BUDGET, as_dict, controller_of, name_of

_LOG = logging.getLogger(__name__)
_FRESH_SECONDS: Final = 60.0
"""For so long one list serves all decisions in a namespace."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A budget of somebody else."""

    name: str
    selector: Json = field(default_factory=dict)
    """As it stands; an empty one selects every pod."""


@dataclass(frozen=True, slots=True)
class BudgetsSeen:
    """What there is in a namespace."""

    budgets: tuple[Budget, ...] = ()
    why_unknown: str = ""
    """Why they could not be listed; empty if they were."""


class BudgetLister:
    """One list for all who ask within a minute, of one namespace."""

    def __init__(self, client: KubeClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._kept = Kept(self._list, clock)

    async def budgets(self, namespace: str) -> BudgetsSeen:
        """Those of other people; also why they may not be known.

        Raises:
            ApiError: the API server gave no answer: nothing is decided without it.
        """
        return await self._kept.get(namespace)

    async def _list(self, namespace: str) -> tuple[BudgetsSeen, float]:
        """What was found, and for how many seconds that holds."""
        try:
            bodies = [body async for body in self._client.list_all(DISRUPTION_BUDGET, namespace, None)]
        except (Refused, Gone) as error:
            _LOG.warning("the PodDisruptionBudgets of %s cannot be listed: %s", namespace, error)
            return BudgetsSeen(why_unknown=str(error)), REFUSED_SECONDS
        return BudgetsSeen(tuple(_project(body) for body in bodies if not _is_ours(body))), _FRESH_SECONDS


def _project(body: Json) -> Budget:
    return Budget(name_of(body), as_dict(as_dict(body.get("spec")).get("selector")))


def _is_ours(body: Json) -> bool:
    """Whatever has become of its labels."""
    return controller_of(body).get("kind") == names.KIND
