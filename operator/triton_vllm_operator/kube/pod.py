"""What the operator needs to know of a pod."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from triton_vllm_operator.api.reasons import Reason


@dataclass(frozen=True, slots=True)
class Gate:
    """The readiness gate as it stands on the pod. `container_id` is what the verdict speaks of."""

    generates: bool
    reason: str
    container_id: str
    has_generated: bool = True
    """Whether the pod has ever generated: only then is a failure something that worked and does not."""
    detail: str = ""
    """What was found wrong, in the words of the pod or of the probe."""
    adapter_faults: tuple[str, ...] = ()
    """LoRA adapters that are of no use: `NAME: what the engine does with it`."""
    was_varied: bool = False
    """Whether the container's first proof was more than one token over and over; False too where that was not noted."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a container ended."""

    reason: str
    exit_code: int
    message: str
    finished_at: str = ""
    """RFC 3339."""
    container_id: str = ""


@dataclass(frozen=True, slots=True)
class Image:
    """An image that a pod waits for."""

    reference: str
    holder: str
    """The volume or the container that it is for."""
    adapter: str = ""
    """The name of the LoRA adapter that it holds; empty if it holds none."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of an LLMDeployment, reduced to what is decided on."""

    name: str
    uid: str
    revision: str
    template: str = ""
    """By which Kubernetes tells pods of one template from those of another, also where somebody else changed it."""
    terminating: bool = False
    phase: str = "Pending"
    phase_reason: str = ""
    phase_message: str = ""
    disruption: str = ""
    """Why Kubernetes deletes it, if somebody had it deleted: a drain, a pod of a higher priority, a lost node."""
    ends_at: datetime | None = None
    """When it should be gone, once it is being deleted."""
    ip: str | None = None
    ready: bool = False
    gate: Gate | None = None
    container_id: str = ""
    running: bool = False
    waiting_reason: str = ""
    waiting_message: str = ""
    awaited_image: Image | None = None
    """The one that `waiting_message` speaks of."""
    ended: Ended | None = None
    """How the container ended: the present one if it does not run, else the one before it."""
    unhealthy_devices: tuple[str, ...] = ()
    """Devices of its container that the kubelet calls unhealthy, as `nvidia.com/gpu GPU-1`."""
    restarts: int = 0
    """How often the container was started again."""
    unschedulable: str = ""
    created_at: datetime | None = None
    scheduled_at: datetime | None = None
    initialized_at: datetime | None = None
    """Since when the weights are there and checked."""
    containers_ready_at: datetime | None = None
    """Since when kubelet calls the container ready: its port is open, whatever the gate says."""
    started_at: datetime | None = None
    """Since when the container runs: its images are there."""
    prepare_began: datetime | None = None
    """When the init container began that checks or fetches the weights."""
    generates_since: datetime | None = None
    """Since when its gate says so."""
    waits_first: bool = False
    """Whether it looks at its GPUs before the engine starts (sources/wait_for_gpu.py)."""
    waits_for_memory: str = ""
    """What its GPUs lack, while it waits for that before the engine starts; read from its log."""
    held: str = ""
    """What its node said last of why it does not start it, as `FailedMount: ...`; from Events, where it takes long."""
    node: str = ""
    """Where it is placed; empty if nowhere yet."""
    deletion_cost: int | None = None
    """By which Kubernetes chooses, of pods of which some are to go."""
    job_uid: str = ""
    """Of the Job that this pod fetches a model for; empty for a serving pod."""
    prepares: bool = False
    """Whether the init container that checks or fetches the weights runs."""
    prepared: str = ""
    """What that container said when it ended well, if it had something to warn of."""
    unprepared: Ended | None = None
    """How that container last ended, if not well."""

    @property
    def lives(self) -> bool:
        """Whether the pod is there to stay: one that failed is replaced and only lies about."""
        return self.phase != "Failed" and not self.terminating

    @property
    def holds_node(self) -> bool:
        """Whether it has a node, and what it asked for there: one that is over only lies about."""
        return bool(self.node) and self.phase not in ("Succeeded", "Failed")

    @property
    def has_generated(self) -> bool:
        """Whether a container of it ever has."""
        return self.gate is not None and self.gate.has_generated

    @property
    def has_proof(self) -> bool:
        """Whether the present container has generated, as far as its gate tells."""
        gate = self.gate
        if gate is None or not gate.has_generated:
            return False
        # Of a container that was started anew the gate says first that nothing is proven.
        return gate.generates or gate.reason != Reason.NOT_YET_PROVEN

    @property
    def waits_on_its_node(self) -> bool:
        """Whether a node has taken it, and has neither started its containers nor said why not in its status."""
        is_silent = self.waiting_reason in ("", "ContainerCreating", "PodInitializing") and self.ended is None
        has_begun = self.running or self.prepare_began is not None or self.unprepared is not None
        has_begun = has_begun or self.prepares or self.initialized_at is not None
        return self.lives and self.scheduled_at is not None and is_silent and not has_begun

    @property
    def loads(self) -> bool:
        """Whether the container runs, and its server has not opened its port yet."""
        return self.running and self.lives and not self.has_proof and self.containers_ready_at is None

    @property
    def loads_since(self) -> datetime | None:
        """Since when it loads; None if it does not."""
        return self.started_at if self.loads else None

    @property
    def serves(self) -> bool:
        """Whether the pod is in the Service: it generates, and Kubernetes calls it ready."""
        return self.ready and self.gate is not None and self.gate.generates and not self.terminating


GATE_SEPARATOR: Final = ": "
NEVER_GENERATED: Final = "never generated: "
VARIED_PROOF: Final = "the container generated text"
PLAIN_PROOF: Final = "the container generated one token over and over"
"""What the gate says of the first proof. Earlier versions wrote neither."""
ADAPTER_FAULT: Final = "; adapter "
"""Before the name of each LoRA adapter that is of no use, in the message of the gate."""
