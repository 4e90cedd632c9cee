"""What a rollout is decided by, beside what is free."""

from dataclasses import dataclass
from datetime import datetime

from triton_vllm_operator.api.rollout import RolloutWay


@dataclass(frozen=True, slots=True)
class Moment:
    """A rollout as it stands."""

    revision: str
    """Name of the revision whose pods are to replace the others."""
    in_force: RolloutWay
    """What the Deployment does."""
    begins: bool
    """Whether the Deployment does not know of the revision yet."""
    left: int
    """Old pods that are there to stay."""
    waits: bool
    """Whether a new pod has no place yet: no node, or a volume that another node holds."""
    goes: bool
    """Whether a pod of this LLMDeployment is being deleted, and not overdue: its place is taken until it is gone."""
    serves: bool = True
    """Whether a pod answers, old or not: of a template that comes back after a restart Kubernetes makes others anew."""
    waits_since: datetime | None = None
    """When the new pod was made that waits."""
    refused: str = ""
    """Why Kubernetes makes no new pod; empty if it does."""
    makes_instead: bool = False
    """Whether it would make that pod in the place of an old one: only a quota may say so."""
    makes_none_beside: bool = False
    """Whether it makes none for as long as all old pods stay: own ones fill the quota."""
    leaves: bool = False
    """Whether more pods serve or are old than are wanted: some go anyway."""
    unjudged: bool = False
    """Whether no scheduler has said anything of the new pods that wait: it is down, or there is none of that name."""
    surge_kept: int = 0
    """By how many pods it may exceed what is wanted, so that it keeps what it has where fewer are wanted in the middle
    of a rollout; 0 if no fewer are."""
    starts: bool = False
    """Whether new pods have not generated yet, or are not there."""
    leaves_nobody: bool = False
    """Whether no other pod answers while one is replaced in its place."""
    start_seconds: int | None = None
    """How long the last start took; None if none has come to its end."""
    end_seconds: int = 0
    """How long a pod may take to go."""
    edited: bool = False
    """Whether the spec was edited since it was last seen: a strategy restarts nothing, and counts from now on."""
    paused: bool = False
    """Whether nothing is to be changed."""
    preempts: bool = False
    """Whether a pod may take the place of others, which one that only starts early must not."""

    @property
    def start(self) -> str:
        """How long a new pod will take; empty if that is not known."""
        took = f"about {self.start_seconds} s by the last start"
        return f"; a new pod takes {took}" if self.start_seconds is not None else ""

    @property
    def gap(self) -> str:
        """What users notice of a replacement; empty if nothing."""
        if not self.leaves_nobody:
            return ""
        took = f", about {self.start_seconds} s by the last start" if self.start_seconds is not None else ""
        ends = f", after the old one has ended ({self.end_seconds} s at most)" if self.end_seconds else ""
        return f"; nobody answers until the new pod generates{took}{ends}"
