"""One reconcile: observe, decide, apply."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final, Protocol

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.reasons import ConditionType, Reason
from triton_vllm_operator.api.rollout import RolloutStatus
from triton_vllm_operator.health.inspector import Inspector
from triton_vllm_operator.health.watcher import ProbeWatcher
from triton_vllm_operator.kube.budget_lister import BudgetLister
from triton_vllm_operator.kube.cache import Cache
from triton_vllm_operator.kube.client import KubeClient
from triton_vllm_operator.kube.errors import Gone
from triton_vllm_operator.kube.node_lister import NodeLister
from triton_vllm_operator.kube.place_lister import PlaceLister
from triton_vllm_operator.kube.resources import DEPLOYMENT, DISRUPTION_BUDGET, JOB, REVISION, Key, kind_of, name_of
from triton_vllm_operator.manifests.identity import Owner
from triton_vllm_operator.manifests.job import Purpose, is_for
from triton_vllm_operator.reconcile.apply import Writer
from triton_vllm_operator.reconcile.decide import decide
from triton_vllm_operator.reconcile.fetching import look_began
from triton_vllm_operator.reconcile.model import Applied, Decision, Observed, Refusal, Write
from triton_vllm_operator.reconcile.observe import observe
from triton_vllm_operator.reconcile.standing import Standing, find_standing
from triton_vllm_operator.reconcile.turns import Turns
from triton_vllm_operator.repository.catalogue import Catalogue

_UNSAID_SECONDS: Final = 60.0
"""Until the next look where a status is not kept as it was written."""


_AFTER_DEPLOYMENT: Final = frozenset({REVISION.kind, DISRUPTION_BUDGET.kind})
"""Children that are written after it."""


class NotSettled(Exception):
    """Something outside our watches must change first; the key is tried again with back-off."""


class ReconcileMeter(Protocol):
    """Where reconciles report to."""

    def planned(self, error: float) -> None:
        """A start was measured; `error` is that of the tokens of its plan, as a part of what was measured."""

    def replaced(self, reason: str) -> None:
        """A pod was replaced."""

    def stands(self, key: Key, standing: Standing | None) -> None:
        """How an LLMDeployment stands now; None if it is gone."""


class Reconciler:
    """Brings one LLMDeployment a step nearer to its spec. The outcome depends on the cluster alone."""

    def __init__(
        self,
        cache: Cache,
        client: KubeClient,
        probes: ProbeWatcher,
        inspector: Inspector,
        catalogue: Catalogue,
        clock: Callable[[], datetime],
        meter: ReconcileMeter,
    ) -> None:
        self._cache = cache
        self._client = client
        self._probes = probes
        self._inspector = inspector
        self._catalogue = catalogue
        self._clock = clock
        self._meter = meter
        self._writer = Writer(client, cache)
        self._nodes = NodeLister(client)
        self._places = PlaceLister(client)
        self._budgets = BudgetLister(client)
        self._turns = Turns()

    async def reconcile(self, key: Key) -> float | None:
        """Reconcile one LLMDeployment; the seconds after which to look again, None if only on an event.

        Raises:
            NotSettled: the API server refuses or changes a child, or a foreign object has its name.
            ApiError: the API server could not be reached.
        """
        observed = await observe(
            key, self._cache, self._client, self._probes, self._inspector, self._nodes, self._budgets, self._clock()
        )
        if observed is None:
            self._probes.sync(key, ())
            self._turns.note(key, None)
            self._meter.stands(key, None)
            return None
        now = self._clock()
        observed, decision = self._decide(key, observed, now)
        if await self._writer.write_gates(key.namespace, decision.gates):
            # What is said of the pods comes from what they now say of themselves.
            return 0.0
        # Also while what is free cannot be listed: a new pod becomes ready by its probes alone.
        self._probes.sync(key, decision.probes)
        observed, decision = await self._decide_knowing(key, observed, decision, now)
        await self._say_turn(observed, decision)
        try:
            await self._writer.write_costs(key.namespace, decision.costs)
            applied = await self._writer.write_children(decision.writes)
        except Gone:
            # The namespace is being deleted, children first: there is nothing to bring back.
            return None
        if decision.writes and applied == Applied():
            # The status comes with the next look, behind all keys that wait: children come first, and it
            # speaks of them as they are then.
            return 0.0
        if applied.refusal is not None or applied.foreign:
            observed = replace(observed, refusal=applied.refusal, foreign=observed.foreign + applied.foreign)
            decision = decide(observed, self._catalogue, now)
            # What was accepted last is kept up meanwhile: it still scales, and its children come back.
            await self._writer.write_children(_find_kept_up(decision.writes, applied.refusal))
        else:
            await self._writer.prune(key.namespace, decision.prunes)
        self._probes.sync(key, decision.probes)
        self._meter.stands(key, find_standing(decision.status or observed.resource.status, observed.resource.spec))
        is_said = await self._say(observed.resource.owner, decision, now)
        if is_said:
            await self._replace(key.namespace, decision)
        if unsettled := _unsettled(observed, applied):
            raise NotSettled(unsettled)
        if decision.look_again_at is None:
            return None
        pause = (decision.look_again_at - now).total_seconds()
        # What would follow a status that is not kept never comes.
        return pause if is_said else max(pause, _UNSAID_SECONDS)

    def _decide(self, key: Key, observed: Observed, now: datetime) -> tuple[Observed, Decision]:
        """The decision, and what it was made on.

        No other reconcile comes between these lines: a turn that is free is still free when it is taken.
        """
        self._turns.note(key, look_began(observed, now))
        observed = replace(observed, may_look=self._turns.is_free(key, now))
        decision = decide(observed, self._catalogue, now)
        if any(_looks(write.manifest) for write in decision.writes):
            self._turns.note(key, now)
        return observed, decision

    async def _decide_knowing(
        self, key: Key, observed: Observed, decision: Decision, now: datetime
    ) -> tuple[Observed, Decision]:
        """The decision, with what it asks for: it is looked at when pods are to go, and at no other time."""
        if decision.wants_places:
            places = await self._places.places()
            observed, decision = self._decide(key, replace(observed, places=places.beside(key)), now)
        if decision.wants_loads:
            loads = await self._inspector.loads(observed.pods)
            observed, decision = self._decide(key, replace(observed, loads=loads), now)
        return observed, decision

    async def _say(self, owner: Owner, decision: Decision, now: datetime) -> bool:
        """Write the status, which remembers what was told, and tell what happened.

        In this order: a status that cannot be written would have the same told at every try. An operator that is
        killed between the two leaves an Event out.

        False if the status could not be written, or is not kept as it was.
        """
        if decision.status is None:
            return True
        is_written = await self._writer.write_status(owner, decision.status)
        if is_written:
            await self._writer.tell(owner, decision.news, now)
        if is_written and decision.plan_error is not None:
            self._meter.planned(decision.plan_error)
        return is_written

    async def _say_turn(self, observed: Observed, decision: Decision) -> None:
        """Write how a rollout goes on before it does: the next look has to know why, and the rest comes with that.

        Of a rollback it sees pods that end, of which nobody can tell any more what they failed for.
        """
        before, after = observed.resource.status, decision.status
        accepted = before.condition(ConditionType.ACCEPTED)
        if accepted is not None and accepted.reason == Reason.REFUSED_BY_API_SERVER:
            # It is tried again and again, and refused each time.
            return
        if after is None or not decision.writes:
            return
        # That it is over is said with the rest, once the Deployment is as it should be left.
        rollout = still_held(before.rollout, after.rollout) or before.rollout
        told = before.model_copy(update={"rollout": rollout, "rollback": after.rollback})
        if told != before:
            await self._writer.write_status(observed.resource.owner, told)

    async def _replace(self, namespace: str, decision: Decision) -> None:
        """Delete a dead pod, now that the status says so."""
        replacement = decision.replacement
        if replacement is not None and await self._writer.replace(namespace, replacement):
            self._meter.replaced(replacement.reason)


def still_held(before: RolloutStatus | None, after: RolloutStatus | None) -> RolloutStatus | None:
    """With since when it was held back, until what follows is written: else it would be held back anew."""
    if before is None or before.held is None or after is None or before.revision != after.revision:
        return after
    return after if after.held is not None else after.model_copy(update={"held": before.held, "since": None})


def _find_kept_up(writes: tuple[Write, ...], refusal: Refusal | None) -> tuple[Write, ...]:
    """Without the Deployment where that was taken: it would go back and forth, and its pods with it."""
    is_taken = refusal is not None and refusal.kind in _AFTER_DEPLOYMENT
    return tuple(write for write in writes if not (is_taken and kind_of(write.manifest) == DEPLOYMENT))


def _looks(manifest: Json) -> bool:
    return kind_of(manifest) == JOB and is_for(name_of(manifest), Purpose.LOOK)


def _unsettled(observed: Observed, applied: Applied) -> str:
    """What no event of our watches will tell of; empty if there is nothing."""
    if applied.refusal is not None:
        return f"the API server refuses {applied.refusal.kind} {applied.refusal.name}: {applied.refusal.message}"
    if observed.foreign:
        return f"{', '.join(observed.foreign)} is not ours"
    if applied.left_out:
        return f"the API server does not take {', '.join(applied.left_out)}"
    if applied.rewritten:
        return f"{', '.join(applied.rewritten)} is changed by somebody on the way into the API server"
    return ""
