"""A small cluster in memory: what Kubernetes makes of the Deployment, second by second, beside the operator.

The rules are those of the Deployment controller, the ReplicaSet controller, kube-scheduler and kubelet, as far as an
update depends on them: https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/controller/deployment/rolling.go.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from support.nodes import make_node
from support.pods import CONTAINER, make_pod
from support.simulate import World
from triton_vllm_operator.kube.place_lister import Places
from triton_vllm_operator.kube.pod import Gate, Pod
from triton_vllm_operator.kube.resources import DEPLOYMENT, as_dict, metadata_of

GPU: Final = "nvidia.com/gpu"
LOAD_SECONDS: Final = 4
END_SECONDS: Final = 3
SPEC: Final[Mapping[str, Any]] = {
    "model": {"image": {"reference": "registry/model:1"}},
    "runtime": {"version": "26.08"},
    "memory": {"policy": "Off"},
}


@dataclass
class ReplicaSet:
    """Of one template."""

    template: str
    revision: str
    gpus: int
    wanted: int = 0


@dataclass
class SimulatedPod:
    """A pod as kubelet has it."""

    name: str
    of: ReplicaSet
    created_at: datetime
    loads_for_ever: bool
    node: str = ""
    scheduled_at: datetime | None = None
    serves: bool = False
    ends_at: datetime | None = None

    def project(self) -> Pod:
        """As the operator sees it."""
        pod = make_pod(
            self.of.revision,
            self.name,
            template=self.of.template,
            created_at=self.created_at,
            scheduled_at=self.scheduled_at,
            node=self.node,
            terminating=self.ends_at is not None,
            ends_at=self.ends_at + timedelta(seconds=60) if self.ends_at is not None else None,
        )
        if not self.node:
            return replace(pod, phase="Pending", running=False, ip=None, unschedulable="0 nodes are available")
        return replace(pod, ready=True, gate=Gate(True, "Generates", CONTAINER)) if self.serves else pod


@dataclass
class RollingCluster:
    """Nodes with GPUs, one LLMDeployment, and whether an engine of its spec ever generates."""

    gpus: dict[str, int]
    world: World
    generates: Callable[[Mapping[str, Any]], bool] = bool
    paused: bool = False
    quota: int | None = None
    """Pods that the namespace may have."""
    pods: list[SimulatedPod] = field(default_factory=list)
    sets: list[ReplicaSet] = field(default_factory=list)
    restarts: int = 0
    made: int = 0
    generation: int = 0
    written: object = None
    """What the Deployment was last to be, of that generation."""
    desired: tuple[int, int] = (0, 0)
    """How many pods the Deployment had when it was last scaled, and how many more it might have."""

    @property
    def serving(self) -> int:
        """Pods that answer, also while they end requests under way; a Service sends to those that stay."""
        return sum(pod.serves and pod.ends_at is None for pod in self.pods)

    def tick(self) -> None:
        """A second passes."""
        self.world.now += timedelta(seconds=1)
        self._run_pods()
        self._place_pods()
        self.run_operator()
        self._roll()
        self._tell(self._follow_sets())
        self._place_pods()

    def run_operator(self) -> int:
        """Let it look until it has nothing to do; how often it wrote.

        Raises:
            AssertionError: it never has.
        """
        for looks in range(10):
            self.world.pods = tuple(pod.project() for pod in self.pods)
            self.world.changes.clear()
            self.world.changes["resource"] = replace(self.world.observe().resource, paused=self.paused)
            if self.world.decide().wants_places:
                self.world.changes["places"] = self._places()
            before = self._status
            decision = self.world.step()
            self._keep(before)
            if not decision.writes and not decision.prunes and decision.status is None:
                return looks
        raise AssertionError(f"it goes on for ever: {decision.manifests}, {decision.status}")

    def restart(self) -> None:
        """As kubectl rollout restart."""
        self.restarts += 1
        self._keep(self._status)

    @property
    def _status(self) -> Mapping[str, Any]:
        return next((as_dict(each.body.get("status")) for each in self.world.of_kind(DEPLOYMENT.kind)), {})

    def _keep(self, status: Mapping[str, Any]) -> None:
        """What an apply leaves alone: the status, and what kubectl wrote into the template."""
        for deployment in self.world.of_kind(DEPLOYMENT.kind):
            deployment.body["status"] = dict(status)
            metadata = metadata_of(as_dict(as_dict(deployment.body["spec"])["template"]))
            if self.restarts:
                metadata["annotations"] = {"kubectl.kubernetes.io/restartedAt": str(self.restarts)}
            if deployment.body["spec"] != self.written:
                self.written, self.generation = copy.deepcopy(deployment.body["spec"]), self.generation + 1
            metadata_of(deployment.body)["generation"] = self.generation

    def _places(self) -> Places:
        nodes = tuple(make_node(name, {}, count) for name, count in self.gpus.items())
        return Places(nodes)

    def _deployment(self) -> Mapping[str, Any] | None:
        found = self.world.of_kind(DEPLOYMENT.kind)
        return as_dict(found[0].body["spec"]) if found else None

    def _run_pods(self) -> None:
        now = self.world.now
        self.pods = [pod for pod in self.pods if pod.ends_at is None or pod.ends_at > now]
        for pod in self.pods:
            began = pod.scheduled_at
            if began is not None and not pod.loads_for_ever and now - began >= timedelta(seconds=LOAD_SECONDS):
                pod.serves = True

    def _place_pods(self) -> None:
        for pod in self.pods:
            if pod.node or pod.ends_at is not None:
                continue
            fitting = (name for name in self.gpus if self._free(name) >= pod.of.gpus)
            pod.node = next(fitting, "")
            pod.scheduled_at = self.world.now if pod.node else None

    def _free(self, node: str) -> int:
        own = sum(pod.of.gpus for pod in self.pods if pod.node == node)
        return self.gpus[node] - own

    def _roll(self) -> None:
        """The Deployment controller: syncs until it changes nothing."""
        spec = self._deployment()
        if spec is None:
            return
        newest = self._find_newest(spec)
        for _ in range(10):
            if not self._sync(spec, newest):
                return
            self._follow_sets()

    def _find_newest(self, spec: Mapping[str, Any]) -> ReplicaSet:
        template = as_dict(spec["template"])
        revision = str(as_dict(metadata_of(template)["labels"])["triton-vllm.dev/revision"])
        name = f"{revision}-{self.restarts}"
        found = next((each for each in self.sets if each.template == name), None)
        if found is None:
            limits = as_dict(as_dict(template["spec"])["containers"][0]["resources"]["limits"])
            found = ReplicaSet(name, revision, int(limits[GPU]))
            self.sets.append(found)
        return found

    def _sync(self, spec: Mapping[str, Any], newest: ReplicaSet) -> bool:
        replicas, bounds = int(spec["replicas"]), as_dict(as_dict(spec["strategy"])["rollingUpdate"])
        old = [each for each in self.sets if each is not newest and each.wanted]
        if self.desired[0] and (spec.get("paused") or self.desired[0] != replicas):
            # One that is paused is scaled all the time.
            before = [each.wanted for each in self.sets]
            self._scale(replicas, int(bounds["maxSurge"]), newest)
            return before != [each.wanted for each in self.sets]
        self.desired = (replicas, int(bounds["maxSurge"]))
        if not old:
            # No rollout: it is scaled.
            changed, newest.wanted = newest.wanted != replicas, replicas
            return changed
        total = sum(each.wanted for each in self.sets)
        if newest.wanted > replicas:
            newest.wanted = replicas
            return True
        if (room := min(replicas + int(bounds["maxSurge"]) - total, replicas - newest.wanted)) > 0:
            newest.wanted += room
            return True
        least = replicas - int(bounds["maxUnavailable"])
        unavailable = newest.wanted - self._available(newest)
        most = total - least - unavailable
        return most > 0 and self._scale_old_down(old, least, most)

    def _scale(self, replicas: int, surge: int, newest: ReplicaSet) -> None:
        """In the middle of a rollout, in proportion; what is left over takes the largest, of those the oldest.

        https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/controller/deployment/sync.go
        """
        active = [each for each in self.sets if each.wanted]
        most, before = replicas + surge if replicas else 0, sum(self.desired)
        self.desired = (replicas, surge)
        if len(active) < 2:
            (active[0] if active else newest).wanted = replicas
            return
        if newest.wanted == replicas == self._available(newest):
            for each in active:
                each.wanted = each.wanted if each is newest else 0
            return
        missing = most - sum(each.wanted for each in active)
        newer_first = -1 if missing > 0 else 1
        ordered = sorted(active, key=lambda each: (-each.wanted, newer_first * self.sets.index(each)))
        left = missing
        for each in ordered:
            share = int(each.wanted * most / before + 0.5) - each.wanted
            share = max(min(share, left), 0) if missing > 0 else min(max(share, left), 0)
            each.wanted, left = each.wanted + share, left - share
        ordered[0].wanted = max(ordered[0].wanted + left, 0)

    def _scale_old_down(self, old: list[ReplicaSet], least: int, most: int) -> bool:
        cleaned = 0
        for each in old:
            gone = min(most - cleaned, each.wanted - self._available(each))
            each.wanted -= max(gone, 0)
            cleaned += max(gone, 0)
        spare, gone_in_all = sum(map(self._available, self.sets)) - least, 0
        for each in old:
            if spare - gone_in_all > 0:
                gone = min(each.wanted, spare - gone_in_all)
                each.wanted -= gone
                gone_in_all += gone
        return cleaned + gone_in_all > 0

    def _available(self, of: ReplicaSet) -> int:
        return min(of.wanted, sum(pod.serves and pod.ends_at is None for pod in self.pods if pod.of is of))

    def _tell(self, refused: bool) -> None:
        """What the Deployment's status says of pods that are not made."""
        counts = f"requested: pods=1, used: pods={len(self.pods)}, limited: pods={self.quota}"
        failure = {"type": "ReplicaFailure", "status": "True", "message": f"exceeded quota: team, {counts}"}
        for deployment in self.world.of_kind(DEPLOYMENT.kind):
            newest = self._find_newest(as_dict(deployment.body["spec"]))
            there = sum(pod.of is newest and pod.ends_at is None for pod in self.pods)
            told = {"conditions": [failure], "updatedReplicas": there} if refused else {}
            deployment.body["status"] = {**told, "observedGeneration": self.generation}

    def _follow_sets(self) -> bool:
        """The ReplicaSet controller, which lets those go first that have no node, and that do not serve.

        Whether it may not make one.
        """
        for each in self.sets:
            mine = [pod for pod in self.pods if pod.of is each and pod.ends_at is None]
            for pod in sorted(mine, key=lambda pod: (bool(pod.node), pod.serves))[: max(len(mine) - each.wanted, 0)]:
                if not pod.node:
                    self.pods.remove(pod)
                else:
                    pod.ends_at = self.world.now + timedelta(seconds=END_SECONDS)
            for _ in range(each.wanted - len(mine)):
                if self.quota is not None and len(self.pods) >= self.quota:
                    return True
                self.made += 1
                dooms = not self.generates(self.world.spec)
                self.pods.append(SimulatedPod(f"llama-{self.made}", each, self.world.now, dooms))
        return False
