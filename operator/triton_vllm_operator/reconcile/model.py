"""What is observed, and what is decided from it. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.status import LLMDeploymentStatus
from triton_vllm_operator.health.failures.last_words import LastWords
from triton_vllm_operator.health.running import Inspection
from triton_vllm_operator.health.target import ProbeTarget
from triton_vllm_operator.health.verdict import GateState, ProbeHistory
from triton_vllm_operator.kube.budget_lister import BudgetsSeen
from triton_vllm_operator.kube.node_lister import NodesSeen
from triton_vllm_operator.kube.place_lister import Places
from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.kube.resources import DEPLOYMENT, Kind, as_dict
from triton_vllm_operator.manifests.identity import Owner
from triton_vllm_operator.manifests.revision import Revision


@dataclass(frozen=True, slots=True)
class Resource:
    """The LLMDeployment as the user left it; `spec` is not parsed yet, it may be invalid."""

    owner: Owner
    generation: int
    spec: Json
    status: LLMDeploymentStatus
    created_at: datetime | None = None
    paused: bool = False
    """Whether its owner wants nothing to be changed."""


@dataclass(frozen=True, slots=True)
class Child:
    """A child that is there, controlled by the LLMDeployment."""

    kind: Kind
    name: str
    uid: str
    body: Json


@dataclass(frozen=True, slots=True)
class Write:
    """A child to create or to change."""

    manifest: Json
    uid: str | None
    """Of the child that is there and differs; None if no object may have this name yet."""
    is_optional: bool = False
    """Whether all goes on without it, should the API server not take it."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the API server said when it did not take a child."""

    kind: str
    name: str
    message: str


IMAGE_VOLUMES_DROPPED: Final = "it drops volumes that are images"
"""The message of a refusal of which the API server says nothing.

Kubernetes 1.31 to 1.34 without the feature gate ImageVolume drops such volumes and their mounts:
https://github.com/kubernetes/kubernetes/blob/v1.34.0/pkg/api/pod/util.go (dropImageVolumes). Pods would start without
their model.
"""


@dataclass(frozen=True, slots=True)
class Applied:
    """How applying went. After the first manifest that was not taken the others were not tried."""

    refusal: Refusal | None = None
    """What the API server did not take."""
    foreign: tuple[str, ...] = ()
    """What was not written, since an object of somebody else has its name, as `Service web`."""
    left_out: tuple[str, ...] = ()
    """What the API server did not take, and what all goes on without, as `Job web-prepull-1`."""
    rewritten: tuple[str, ...] = ()
    """What was taken, but is stored otherwise: a webhook, or the API server itself, changed it on the way."""


@dataclass(frozen=True, slots=True)
class UnreadableRevision:
    """A stored revision that another version of the operator wrote, in a form that this one does not know."""

    name: str
    number: int
    why: str


@dataclass(frozen=True, slots=True)
class Observed:
    """All that one decision depends on, beside the catalogue and the clock."""

    resource: Resource
    children: tuple[Child, ...] = ()
    foreign: tuple[str, ...] = ()
    """Objects of a wanted name that are not ours, as `Service web`."""
    pods: tuple[Pod, ...] = ()
    """The pods that serve, or will."""
    fetch_pods: tuple[Pod, ...] = ()
    """The pods that fetch a model beforehand."""
    progress: Mapping[str, str] = field(default_factory=dict)
    """The last line of the log of each pod that fetches, by its name."""
    podless: Mapping[str, str] = field(default_factory=dict)
    """Why Kubernetes makes no pod, in its own words, for Jobs that have none, by their names."""
    inspection: Inspection | None = None
    """What a pod of the newest revision says of itself; read once, when the status does not hold it yet."""
    may_look: bool = True
    """Whether another Job may look into a model: only so many do at once."""
    nodes: NodesSeen | None = None
    """The nodes, where a decision of this spec may depend on them; None if what the status says of them still holds."""
    lost_nodes: Mapping[str, str] = field(default_factory=dict)
    """Nodes of own pods that do not answer, by their names, with what Kubernetes says of them."""
    budgets: BudgetsSeen = field(default_factory=BudgetsSeen)
    """PodDisruptionBudgets of other people in the namespace, where one of ours may be wanted."""
    places: Places | None = None
    """What the nodes have and what is taken of it; asked for when a rollout has to know."""
    loads: Mapping[str, int | None] | None = None
    """How many requests pods have that serve, by their names; asked for when some are to go.

    None where a backend does not tell them; a pod that gave no answer is not among them.
    """
    last_words: Mapping[str, LastWords] = field(default_factory=dict)
    """What the logs of pods say whose containers ended with too little of a message, by their names."""
    last_said: Mapping[str, datetime] = field(default_factory=dict)
    """When the servers of pods that are past their startup deadline last said something, by their names."""
    probes: Mapping[str, ProbeHistory] = field(default_factory=dict)
    revisions: tuple[Revision, ...] = ()
    unreadable: tuple[UnreadableRevision, ...] = ()
    refusal: Refusal | None = None

    @property
    def newest(self) -> Revision | None:
        """The newest revision that can be read."""
        return max(self.revisions, key=lambda revision: revision.number, default=None)

    @property
    def newest_unreadable(self) -> UnreadableRevision | None:
        """The revision that should run, if it cannot be read: going back to an earlier one would be nobody's wish."""
        readable = max((revision.number for revision in self.revisions), default=0)
        newest = max(self.unreadable, key=lambda revision: revision.number, default=None)
        return newest if newest is not None and newest.number > readable else None

    @property
    def deployed_replicas(self) -> int | None:
        """How many pods the Deployment is to have now; None if there is none, or it does not say."""
        specs = (as_dict(deployment.body.get("spec")) for deployment in self.children_of(DEPLOYMENT))
        return next((count for spec in specs if isinstance(count := spec.get("replicas"), int)), None)

    def children_of(self, kind: Kind) -> tuple[Child, ...]:
        """The children of one kind."""
        return tuple(child for child in self.children if child.kind == kind)


@dataclass(frozen=True, slots=True)
class GatePatch:
    """A verdict to write to a pod."""

    pod_name: str
    pod_uid: str
    state: GateState
    since: datetime


@dataclass(frozen=True, slots=True)
class CostPatch:
    """What Kubernetes compares when some of the pods are to go."""

    pod_name: str
    pod_uid: str
    cost: int


@dataclass(frozen=True, slots=True)
class Replacement:
    """A pod to delete, since its engine is dead."""

    pod_name: str
    pod_uid: str
    reason: str


@dataclass(frozen=True, slots=True)
class News:
    """What happened once, and is told in an Event."""

    reason: str
    message: str
    about: str
    """By which it is known that it was told."""
    is_warning: bool = True


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now: nothing of it is written when it is there already."""

    writes: tuple[Write, ...]
    prunes: tuple[Child, ...]
    gates: tuple[GatePatch, ...]
    probes: tuple[ProbeTarget, ...]
    status: LLMDeploymentStatus | None
    """None when the status is as it should be."""
    look_again_at: datetime | None
    """When time alone may change this decision."""
    news: tuple[News, ...] = ()
    replacement: Replacement | None = None
    """A pod to delete once the status says that it was."""
    wants_places: bool = False
    """Whether it must be known first what is free on the nodes: then this decision is not to be carried out."""
    wants_loads: bool = False
    """The same of the requests that pods have."""
    costs: tuple[CostPatch, ...] = ()
    plan_error: float | None = None
    """Of the tokens of a start that was measured now, as a part of what was measured."""

    @property
    def manifests(self) -> tuple[Json, ...]:
        """The children to write."""
        return tuple(write.manifest for write in self.writes)
