"""What the conditions of an LLMDeployment are read from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.recovery import ReplacedPod
from triton_vllm_operator.api.rollout import RollbackStatus
from triton_vllm_operator.api.status import ConditionStatus
from triton_vllm_operator.api.stopped import StoppedStatus
from triton_vllm_operator.health.failures.last_words import NO_WORDS, LastWords
from triton_vllm_operator.health.failures.pods import Problem, find_gate_failure, find_problem
from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.rollout.step import Step


@dataclass(frozen=True, slots=True)
class Finding:
    """A condition without its times."""

    status: ConditionStatus
    reason: Reason
    message: str


def holds(reason: Reason, message: str) -> Finding:
    """A condition that is True."""
    return Finding(ConditionStatus.TRUE, reason, message)


def fails(reason: Reason, message: str) -> Finding:
    """A condition that is False."""
    return Finding(ConditionStatus.FALSE, reason, message)


@dataclass(frozen=True, slots=True)
class Situation:
    """What the conditions are read from."""

    name: str
    """Of the LLMDeployment."""
    refused: Problem | None
    """Why the spec is not accepted."""
    unchecked: str
    """Why it is accepted without all of its engine arguments being checked; empty if they were."""
    replicas: int
    step: Step
    """What is done about pods of earlier revisions."""
    revision: str
    """Hash of the revision that should run; empty if there is none."""
    pods: tuple[Pod, ...]
    pods_refused: str
    """Why Kubernetes makes no pods (a quota, for example); empty if it does."""
    pods_refused_since: datetime | None
    startup_deadline_seconds: int
    waiting: Problem | None = None
    """What the accepted spec waits for before its pods can be made, or can start."""
    waits_in_vain: bool = False
    """Whether that has failed."""
    changed: str = ""
    """Fields in which the pods of earlier revisions differ, as `spec.engine.maxNumSeqs`; empty if there are none."""
    differences: tuple[str, ...] = ()
    """Where the engine runs otherwise than was rendered."""
    warnings: tuple[str, ...] = ()
    """What was found in the model's files of which only the engine can tell whether it does harm."""
    scheduler: str = ""
    """The scheduler that the spec names; empty for the cluster's own."""
    memory: Finding | None = None
    """Whether the memory of the GPUs suffices; None if that is not known yet."""
    cut_off: tuple[str, ...] = ()
    """Names of the pods that serve by their last proof, and that several probes in a row have not reached since."""
    unreached: frozenset[str] = frozenset()
    """Names of the pods that the last probe could not reach."""
    last_words: Mapping[str, LastWords] = field(default_factory=dict)
    """What the logs of pods say whose containers ended, by their names."""
    remedies: Mapping[str, str] = field(default_factory=dict)
    """What is done about pods whose engines are dead, by their names."""
    replaced: ReplacedPod | None = None
    """The last pod that was replaced, while its successor has not generated."""
    stopped: StoppedStatus | None = None
    """Why no pod is kept."""
    lost_nodes: Mapping[str, str] = field(default_factory=dict)
    """Nodes of own pods that do not answer, by their names, with what Kubernetes says of them."""
    rollback: RollbackStatus | None = None
    """Why another revision runs than the spec asks for."""
    paused: bool = False
    """Whether nothing is changed since its owner wants it so."""
    held_back: tuple[str, ...] = ()
    """What would be written else, as `Deployment web`."""

    def find_problem(self, pod: Pod) -> Problem | None:
        """What the status of a pod names, and its log."""
        return find_problem(pod, self.last_words.get(pod.name, NO_WORDS))

    def find_gate_failure(self, pod: Pod) -> Problem | None:
        """What the probes found wrong with a pod, and what is done about it."""
        return find_gate_failure(pod, self.remedies.get(pod.name, ""))

    @property
    def alive(self) -> tuple[Pod, ...]:
        """The pods that are there to stay: not being deleted, and not failed, which are replaced and only lie about."""
        is_short = self._short_of_pods
        return tuple(pod for pod in self.pods if not pod.terminating and (pod.phase != "Failed" or is_short))

    @property
    def _short_of_pods(self) -> bool:
        return sum(pod.lives for pod in self.pods) < self.replicas

    @property
    def current(self) -> tuple[Pod, ...]:
        """The pods of the revision that should run."""
        return tuple(pod for pod in self.alive if pod.revision == self.revision and pod.name not in self.step.old)

    @property
    def leftover(self) -> tuple[Pod, ...]:
        """The pods of other revisions, and those that are restarted."""
        current = {pod.name for pod in self.current}
        return tuple(pod for pod in self.alive if pod.name not in current)

    @property
    def of_others(self) -> tuple[Pod, ...]:
        """The pods of other revisions: a pause keeps them, and holds nobody's own restart up."""
        return tuple(pod for pod in self.leftover if pod.revision != self.revision)
