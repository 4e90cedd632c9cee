"""Which pods go first when there are to be fewer: those with the fewest requests. Pure.

Of pods that are ready alike Kubernetes deletes the one of the lowest cost, and those that are not ready before it:
https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#pod-deletion-cost.
"""

from dataclasses import dataclass

from triton_vllm_operator.reconcile.live import Live
from triton_vllm_operator.reconcile.model import CostPatch, Observed


@dataclass(frozen=True, slots=True)
class Costs:
    """What is written to pods before the Deployment has fewer."""

    patches: tuple[CostPatch, ...] = ()
    wants_loads: bool = False
    """Whether it must be known first how many requests the pods have."""


def find_costs(observed: Observed, live: Live) -> Costs:
    """The costs of pods of which some are to go now, and some to stay."""
    running = observed.deployed_replicas or 0
    serving = [pod for pod in observed.pods if pod.serves]
    if not 0 < live.replicas < running or len(serving) < 2:
        return Costs()
    if observed.loads is None:
        return Costs(wants_loads=True)
    told = [load for load in observed.loads.values() if load is not None]
    # One that did not answer in time has the most to do, as far as is known.
    most = max(told, default=0) + 1
    costs = {pod: observed.loads.get(pod.name, most) for pod in serving} if told else {}
    wanted = ((pod, cost) for pod, cost in costs.items() if cost is not None and cost != pod.deletion_cost)
    return Costs(tuple(CostPatch(pod.name, pod.uid, cost) for pod, cost in wanted))
