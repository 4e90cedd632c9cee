"""Keeps probing each container, one probe at a time unless it stays silent, and remembers what they showed."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from triton_vllm_operator.health.target import ProbeTarget
from triton_vllm_operator.health.verdict import Outcome, ProbeHistory, ProbeResult
from triton_vllm_operator.health.work import Sign, Work, compare
from triton_vllm_operator.kube.resources import Key

_LOG = logging.getLogger(__name__)

_LOADING_PERIOD_SECONDS: Final = 1.0
"""How often a container that was never reached is tried: a refused connection costs nothing."""
_LOOK_SECONDS: Final = 1.5
"""Between two looks at the counters of a container: three of them are to fit into 5 s."""
_MOST_LOOKS: Final = 500
"""In a second, at all containers together: each takes 0.3 ms. With more than 750 of them, they are further apart."""
_LONGEST_SKIP_SECONDS: Final = 60.0
"""For which a container that works is not probed. That it works says nothing of what it answers."""
_SUSPICIOUS_SECONDS: Final = 2.0
"""Without an answer, after which a container that has generated is asked once more beside."""
_LIFE: Final = frozenset({Outcome.GENERATED, Outcome.BUSY})
_NO_ANSWER: Final = frozenset({Outcome.TIMED_OUT, Outcome.UNREACHABLE})
"""Any other outcome came over the network, to a prober that works."""
_MANY: Final = 3
"""LLMDeployments that have generated: of fewer, all may well be silent."""
_LONGEST_DOUBT_SECONDS: Final = 600.0
"""For which the prober is suspected: what is silent for longer is taken to be."""
_TIMES_USUAL: Final = 3
"""The same, in times that its answers take: where these are slow, slowness is no sign of anything."""
_BESIDE_SECONDS: Final = 1.0
"""Between further ones."""
_HELD_SECONDS: Final = 2.0
"""A connection that stands for so long is one to the server, and not to something before it that closes it again."""
RunProbe = Callable[[ProbeTarget, Callable[[], None]], Awaitable[ProbeResult]]
Look = Callable[[ProbeTarget], Awaitable[Work | None]]


@dataclass(frozen=True, slots=True)
class Proof:
    """When a container generated for a probe, on the loop's clock, and how many seconds it took."""

    at: float
    seconds: float


class ProbeWatcher:
    """The probes of all pods. What it remembers may be lost: the verdicts stand on the pods."""

    def __init__(
        self,
        probe: RunProbe,
        look: Look,
        notify: Callable[[Key], None],
        measure: Callable[[ProbeResult], None],
    ) -> None:
        self._probe = probe
        self._look = look
        self._notify = notify
        self._measure = measure
        self._tasks: dict[Key, dict[ProbeTarget, asyncio.Task[None]]] = {}
        self._histories: dict[Key, dict[str, ProbeHistory]] = {}
        self._proofs: dict[Key, dict[str, Proof]] = {}
        self._count = 0
        self._generated: set[Key] = set()
        """LLMDeployments of which a container has generated, for this process or for one before it."""
        self._last_answer = float("-inf")
        """When any pod last gave an answer, or a sign of work, on the loop's clock."""
        self._doubted_since: float | None = None
        """Since when nobody has."""

    def __len__(self) -> int:
        """The number of containers being probed."""
        return self._count

    def histories(self, key: Key) -> dict[str, ProbeHistory]:
        """What the probes showed, by uid of the pod."""
        return dict(self._histories.get(key, {}))

    def oldest_proofs(self) -> dict[Key, Proof]:
        """Of each LLMDeployment, the last proof of the pod whose last proof is the oldest. Any thread may ask."""
        all_proofs = [(key, list(proofs.values())) for key, proofs in list(self._proofs.items())]
        return {key: min(proofs, key=lambda proof: proof.at) for key, proofs in all_proofs if proofs}

    def sync(self, key: Key, targets: Sequence[ProbeTarget]) -> None:
        """Probe exactly these containers from now on."""
        # What was found before is how a probe starts, not what is probed: it does not restart a running one.
        wanted = {replace(target, proven=False, was_varied=False): target for target in targets}
        running = self._tasks.pop(key, {})
        for target, task in running.items():
            if target not in wanted:
                task.cancel()
        self._count += len(wanted) - len(running)
        histories, proofs = self._histories.pop(key, {}), self._proofs.pop(key, {})
        if not wanted:
            self._generated.discard(key)
            return
        if any(target.proven for target in wanted.values()):
            self._generated.add(key)
        uids = {target.pod_uid for target in wanted}
        self._proofs[key] = {uid: proof for uid, proof in proofs.items() if uid in uids}
        self._histories[key] = {target.pod_uid: _carried(histories.get(target.pod_uid), target) for target in wanted}
        self._tasks[key] = {
            target: running.get(target) or asyncio.create_task(self._watch(key, target, given))
            for target, given in wanted.items()
        }

    async def stop(self) -> None:
        """End all probes."""
        tasks = [task for tasks in self._tasks.values() for task in tasks.values()]
        self._tasks.clear()
        self._count = 0
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, key: Key, target: ProbeTarget, given: ProbeTarget) -> None:
        proven, was_varied = given.proven, given.was_varied
        period = float(target.settings.period_seconds)
        # After a restart of the operator all pods are due at once: their first probes are spread out.
        await asyncio.sleep(random.uniform(0, period) if proven else 0)
        reached = proven
        usual, tells, lives = 0.0, False, False
        stood: Work | None = None
        while True:
            asked = replace(target, proven=proven, was_varied=was_varied)
            most = target.settings.failure_threshold if tells else 1
            results = await self._ask(key, asked, usual, most, await self._has_moved(target, stood))
            stood = await self._look_safely(target) if results[-1].outcome is Outcome.TIMED_OUT else None
            for result in results:
                tells = result.tells_prefill
                lives = result.outcome in _LIFE
                reached = reached or result.outcome is not Outcome.UNREACHABLE
                was_varied = result.is_varied if not proven and result.outcome is Outcome.GENERATED else was_varied
                proven = proven or result.outcome is Outcome.GENERATED
                usual = result.seconds if result.outcome is Outcome.GENERATED else usual
            if reached:
                await self._rest(target, period, lives)
            else:
                await asyncio.sleep(min(period, self._spread(_LOADING_PERIOD_SECONDS)))

    async def _rest(self, target: ProbeTarget, period: float, lives: bool) -> None:
        """Wait until a probe is due: sooner where an engine that had work stands still, later while it works.

        Only one that lived at its last probe is looked at: of others, each probe is waited for.
        """
        loop = asyncio.get_running_loop()
        began, sign = loop.time(), Sign.RESTS
        due = began + period
        before: Work | None = None
        while sign is not Sign.SUSPICIOUS:
            left, pause = due - loop.time(), self._spread(_LOOK_SECONDS)
            if left <= 0 and (sign is not Sign.WORKS or due + period - began > _LONGEST_SKIP_SECONDS):
                return
            if left <= 0:
                due += period
            elif not lives or left < pause:
                await asyncio.sleep(left)
            else:
                await asyncio.sleep(pause)
                now = await self._look_safely(target)
                sign = compare(before, now, worked=sign is Sign.WORKS)
                before = now or before
                if sign is Sign.WORKS:
                    self._note_answer(loop.time())

    async def _look_safely(self, target: ProbeTarget) -> Work | None:
        try:
            return await self._look(target)
        except Exception:  # the probes must go on
            _LOG.exception("a look at pod %s broke", target.pod_name)
            return None

    async def _has_moved(self, target: ProbeTarget, stood: Work | None) -> bool:
        """Whether the counters are others than they were at the end of a silence: a step may be longer than that."""
        found = await self._look_safely(target) if stood is not None else None
        return found is not None and stood is not None and found.counters != stood.counters

    def _spread(self, seconds: float) -> float:
        """A pause of so many seconds, or longer where there are many containers."""
        return max(seconds, self._count / _MOST_LOOKS)

    async def _ask(self, key: Key, target: ProbeTarget, usual: float, most: int, has_moved: bool) -> list[ProbeResult]:
        """One probe, and beside one that stays silent further ones, up to `most`: each waits its whole time.

        `usual` is how many seconds an answer takes; `has_moved` whether the engine has worked since it was silent.
        """
        rest = max(_SUSPICIOUS_SECONDS, _TIMES_USUAL * usual)
        results: list[ProbeResult] = []
        asked = {asyncio.create_task(self._probe_safely(key, target))}
        try:
            while asked:
                wants_more = len(results) + len(asked) < most
                done, asked = await asyncio.wait(
                    asked, timeout=rest if wants_more else None, return_when=asyncio.FIRST_COMPLETED
                )
                found = (_compare(task.result(), target) for task in done)
                for result in (_excuse(each) if has_moved else self._doubt(each) for each in found):
                    results.append(result)
                    self._measure(result)
                    self._record(key, target, result)
                if any(result.outcome is not Outcome.TIMED_OUT for result in results):
                    break
                if not done:
                    if most > 1 and await self._look_safely(target) is None:
                        # What its counters would show is not known: then one is asked after the other.
                        most = 1
                        continue
                    asked.add(asyncio.create_task(self._probe_safely(key, target)))
                    rest = _BESIDE_SECONDS
        finally:
            for task in asked:
                task.cancel()
        return results

    def _doubt(self, result: ProbeResult) -> ProbeResult:
        """A silence in which no pod of many gave a sign is that of the prober, or of its network: no verdict."""
        now = asyncio.get_running_loop().time()
        if result.outcome not in _NO_ANSWER:
            self._note_answer(now)
        if result.outcome is not Outcome.TIMED_OUT or len(self._generated) < _MANY:
            return result
        if now - self._last_answer <= result.seconds:
            return result
        # Others are asked once a period, and answer in their own time.
        periods = (target.settings.period_seconds for targets in self._tasks.values() for target in targets)
        if now - self._last_answer <= 2 * max(periods, default=0):
            return result
        self._doubted_since = now if self._doubted_since is None else self._doubted_since
        if now - self._doubted_since > _LONGEST_DOUBT_SECONDS:
            return result
        count = len(self._generated)
        _LOG.warning("no pod of %d LLMDeployments gave a sign for %.0f s: no verdict", count, result.seconds)
        return replace(result, outcome=Outcome.UNREACHABLE, detail="no pod of any LLMDeployment gave a sign")

    def _note_answer(self, now: float) -> None:
        self._last_answer, self._doubted_since = now, None

    async def _probe_safely(self, key: Key, target: ProbeTarget) -> ProbeResult:
        held: list[asyncio.TimerHandle] = []

        def connected() -> None:
            held.append(asyncio.get_running_loop().call_later(_HELD_SECONDS, self._note_reached, key, target))

        try:
            return await self._probe(target, connected)
        except Exception as error:  # the probes must go on; what is wrong with this process proves nothing of a pod
            _LOG.exception("the probe of pod %s broke", target.pod_name)
            return ProbeResult(Outcome.UNREACHABLE, f"the probe broke: {error!r}", 0.0)
        finally:
            for timer in held:
                timer.cancel()

    def _note_reached(self, key: Key, target: ProbeTarget) -> None:
        """A probe is under way: that an earlier one was refused says nothing any more."""
        histories = self._histories.get(key, {})
        before = histories.get(target.pod_uid)
        if before is not None and before.container_id == target.container_id and before.unreached:
            histories[target.pod_uid] = replace(before, unreached=False)
            self._notify(key)

    def _record(self, key: Key, target: ProbeTarget, result: ProbeResult) -> None:
        histories = self._histories.get(key, {})
        before = histories.get(target.pod_uid)
        if before is None or before.container_id != target.container_id:
            return
        if result.outcome is Outcome.GENERATED:
            self._generated.add(key)
            proof = Proof(asyncio.get_running_loop().time(), result.seconds)
            self._proofs.setdefault(key, {})[target.pod_uid] = proof
        after = before.after(result)
        histories[target.pod_uid] = after
        if after != before:
            self._notify(key)


def _carried(history: ProbeHistory | None, target: ProbeTarget) -> ProbeHistory:
    if history is not None and history.container_id == target.container_id:
        return history
    return ProbeHistory(target.container_id)


def _excuse(result: ProbeResult) -> ProbeResult:
    """One more silence of an engine that has worked since the one before."""
    if result.outcome is not Outcome.TIMED_OUT:
        return result
    return replace(result, outcome=Outcome.BUSY, detail="the engine has worked since it was silent before")


def _compare(result: ProbeResult, target: ProbeTarget) -> ProbeResult:
    """With the first proof: a container that made text then, and one token over and over now, is not well."""
    if result.outcome is not Outcome.GENERATED or result.is_varied or not target.was_varied:
        return result
    return replace(result, outcome=Outcome.DEGENERATE, detail="one token over and over, and its first proof was text")
