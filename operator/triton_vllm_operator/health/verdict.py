"""From the results of probes to the readiness gate of a pod. Pure."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.status import shorten
from triton_vllm_operator.kube.pod import ADAPTER_FAULT, GATE_SEPARATOR, NEVER_GENERATED, PLAIN_PROOF, VARIED_PROOF, Pod


class Outcome(StrEnum):
    """What one probe found out."""

    GENERATED = "generated"
    BUSY = "busy"
    """The probe got no token in time, but tokens flowed on other requests: the engine lives."""
    UNREACHABLE = "unreachable"
    """Nothing was learned about the engine: it still loads, or the network is at fault."""
    ENGINE_DEAD = "engine_dead"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    NOTHING = "nothing"
    """The request ended well without any text."""
    DEGENERATE = "degenerate"
    """One token over and over, where the container's first proof was none."""


_FAILURES: Final = {
    Outcome.ENGINE_DEAD: Reason.ENGINE_DEAD,
    Outcome.FAILED: Reason.GENERATE_FAILED,
    Outcome.TIMED_OUT: Reason.GENERATE_TIMED_OUT,
    Outcome.NOTHING: Reason.NOTHING_GENERATED,
    Outcome.DEGENERATE: Reason.DEGENERATE_ANSWER,
}


PROOFS: Final = frozenset({Reason.ENGINE_DEAD})
"""Of death: such an engine answers nobody any more, so there is nothing to wait for."""
_MOST_ADAPTER_FAULTS: Final = 4
"""So many fit into the message of a condition, whatever the engine says of each."""


CUT_OFF: Final = 3
"""Probes in a row without an answer of the network, from which on it is told of a pod that generated."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One finished probe. `detail` is for people; `seconds` is how long it took."""

    outcome: Outcome
    detail: str
    seconds: float
    adapter_faults: tuple[str, ...] = ()
    """LoRA adapters that are of no use, as the first proof found, each with what is wrong."""
    is_varied: bool = True
    """Whether its answer was more than one token over and over."""
    tells_prefill: bool = False
    """Whether the engine's counters move while it computes a long prompt: then their standing still is a sign."""


@dataclass(frozen=True, slots=True)
class ProbeHistory:
    """What the probes of one container have shown so far, in this process."""

    container_id: str
    generated: bool = False
    failures: int = 0
    reason: Reason | None = None
    detail: str = ""
    unreached: bool = False
    """The last probe got no answer from the network."""
    misses: int = 0
    """Probes in a row that got none, up to as many as are told of."""
    is_varied: bool = True
    """Whether what it generated last was more than one token over and over."""
    adapter_faults: tuple[str, ...] = ()

    def after(self, result: ProbeResult) -> "ProbeHistory":
        """The history with one more result."""
        if result.outcome is Outcome.GENERATED:
            faults = result.adapter_faults or self.adapter_faults
            return ProbeHistory(self.container_id, generated=True, adapter_faults=faults, is_varied=result.is_varied)
        if result.outcome is Outcome.BUSY:
            return replace(self, failures=0, reason=None, detail="", unreached=False, misses=0)
        if result.outcome is Outcome.UNREACHABLE:
            return replace(self, unreached=True, misses=min(self.misses + 1, CUT_OFF))
        failed = replace(self, failures=self.failures + 1, unreached=False, misses=0)
        if self.reason in PROOFS:
            # It stays proven, whatever a dead engine's server answers next.
            return failed
        return replace(failed, reason=_FAILURES[result.outcome], detail=result.detail)


@dataclass(frozen=True, slots=True)
class GateState:
    """What the readiness gate of a pod should say."""

    generates: bool
    reason: Reason
    message: str


def judge(pod: Pod, history: ProbeHistory | None, failure_threshold: int) -> GateState | None:
    """What to write to the pod's gate; None leaves it as it is.

    A failure needs so many in a row, but for what proves that the engine is dead.

    A verdict speaks of one container: another container ID first turns the gate False. Without any
    probe of this process, the verdict of an earlier one stands.
    """
    if pod.terminating:
        return None
    gate = pod.gate
    if gate is not None and gate.generates and not (pod.running and gate.container_id == pod.container_id):
        text = "has not generated yet" if pod.running else "does not run"
        return _state(pod, False, Reason.NOT_YET_PROVEN, f"the container {text}")
    if not pod.running or history is None or history.container_id != pod.container_id:
        return None
    if history.reason is not None and history.failures >= (1 if history.reason in PROOFS else failure_threshold):
        worked = history.generated or (gate is not None and gate.has_generated)
        wanted = _state(pod, False, history.reason, ("" if worked else NEVER_GENERATED) + history.detail)
    elif history.generated:
        faults = "".join(f"{ADAPTER_FAULT}{fault}" for fault in history.adapter_faults[:_MOST_ADAPTER_FAULTS])
        proof = VARIED_PROOF if history.is_varied else PLAIN_PROOF
        wanted = _state(pod, True, Reason.GENERATES, f"{proof}{faults}")
    else:
        return None
    stands = gate is not None and gate.container_id == pod.container_id
    same = gate is not None and (gate.generates, gate.reason) == (wanted.generates, wanted.reason)
    return None if stands and same else wanted


def _state(pod: Pod, generates: bool, reason: Reason, text: str) -> GateState:
    return GateState(generates, reason, shorten(f"{pod.container_id}{GATE_SEPARATOR}{text}"))
