"""A cluster in memory for pure tests: what is decided is there the next time one looks."""

import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from triton_vllm_operator.api.status import LLMDeploymentStatus
from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.kube.resources import REVISION, kind_of, name_of
from triton_vllm_operator.manifests.identity import Owner
from triton_vllm_operator.manifests.revision import parse_controller_revision
from triton_vllm_operator.reconcile.decide import decide
from triton_vllm_operator.reconcile.model import Child, Decision, Observed, Resource
from triton_vllm_operator.repository.catalogue import Catalogue, load_catalogue

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
OWNER = Owner("models", "llama", "uid-llama")
CATALOGUE = load_catalogue(None)


def allowing(catalogue: Catalogue = CATALOGUE, **allowed: Any) -> Catalogue:
    """The catalogue of an administrator who allows more, or less."""
    allow = catalogue.policy.allow.model_copy(update=allowed)
    return catalogue.model_copy(update={"policy": catalogue.policy.model_copy(update={"allow": allow})})


CPU_SPEC: dict[str, Any] = {
    "model": {"image": {"reference": "registry/model:1"}},
    "runtime": {"version": "cpu-0.32.0"},
    "accelerator": {"cpu": {}},
}


@dataclass
class World:
    """One LLMDeployment and its children."""

    spec: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(CPU_SPEC))
    generation: int = 1
    status: LLMDeploymentStatus = field(default_factory=LLMDeploymentStatus)
    children: dict[tuple[str, str], Child] = field(default_factory=dict)
    pods: tuple[Pod, ...] = ()
    now: datetime = NOW
    catalogue: Catalogue = CATALOGUE
    changes: dict[str, Any] = field(default_factory=dict)

    def observe(self) -> Observed:
        """What the operator would see."""
        revisions = (c for c in self.children.values() if c.kind == REVISION)
        observed = Observed(
            resource=Resource(OWNER, self.generation, self.spec, self.status),
            children=tuple(self.children.values()),
            pods=self.pods,
            revisions=tuple(parse_controller_revision(c.name, c.body) for c in revisions),
        )
        return replace(observed, **self.changes)

    def decide(self) -> Decision:
        """The decision about the present state."""
        return decide(self.observe(), self.catalogue, self.now)

    def step(self) -> Decision:
        """Decide, and make it so."""
        decision = self.decide()
        for manifest in decision.manifests:
            kind, name = kind_of(manifest), name_of(manifest)
            uid = f"uid-{kind.kind}-{name}"
            self.children[kind.kind, name] = Child(kind, name, uid, copy.deepcopy(manifest))
        for child in decision.prunes:
            del self.children[child.kind.kind, child.name]
        if decision.status is not None:
            self.status = decision.status
        return decision

    def settle(self) -> "World":
        """Step once, with everything applied."""
        self.step()
        return self

    def edit(self, **fields: Any) -> "World":
        """The user edits the spec."""
        self.spec = {**copy.deepcopy(self.spec), **fields}
        self.generation += 1
        return self

    def later(self, seconds: float) -> "World":
        """Time passes."""
        self.now += timedelta(seconds=seconds)
        return self

    def of_kind(self, kind: str) -> list[Child]:
        """The children of one kind."""
        return [child for (of, _), child in self.children.items() if of == kind]

    @property
    def revision(self) -> str:
        """The hash of the current revision."""
        assert self.status.revision
        return self.status.revision.rsplit("-", 1)[-1]

    def message(self, kind: str) -> str:
        """The message of a condition."""
        return next(c.message for c in self.status.conditions or () if c.type == kind)

    def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason of a condition."""
        found = next(c for c in self.status.conditions or () if c.type == kind)
        return str(found.status), found.reason
