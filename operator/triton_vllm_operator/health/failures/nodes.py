"""What a kubelet says of a pod that it gave up. Pure.

Reasons: https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/kubelet/lifecycle/predicate.go,
cm/admission/errors.go, cm/topologymanager/topology_manager.go, eviction/helpers.go,
nodeshutdown/nodeshutdown_manager.go.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from triton_vllm_operator.api.reasons import Reason

_REJECTED: Final = "Pod was rejected: "
"""Before all that a kubelet says of a pod that it does not take."""


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Why a node gave a pod up."""

    reason: Reason
    says: str
    """Why, and what helps where something does."""


_EVICTED: Final = "Evicted"
_OVER_LIMIT: Final = re.compile(r"exceeds the (total )?limit|exceeded its local ephemeral storage limit")
_UNDER_PRESSURE: Final = GivenUp(Reason.NODE_REFUSED_POD, "the node takes no pods while it lacks what it names")
_TOO_LARGE: Final = GivenUp(Reason.NODE_EVICTED_POD, "the pod took more than the limit that it names: raise that")
_BY_REASON: Final[Mapping[str, GivenUp]] = {
    "UnexpectedAdmissionError": GivenUp(
        Reason.NODE_REFUSED_POD,
        "its devices are others than the scheduler was told of; if it happens again, restart its device plugin",
    ),
    "TopologyAffinityError": GivenUp(
        Reason.NODE_REFUSED_POD,
        "its Topology Manager finds no GPUs and processors that lie together; ask for fewer, or change its policy",
    ),
    "SMTAlignmentError": GivenUp(Reason.NODE_REFUSED_POD, "ask for whole processor cores in spec.resources"),
    "NodeAffinity": GivenUp(Reason.NODE_REFUSED_POD, "the labels of the node are others than spec.scheduling asks for"),
    "NodeShutdown": GivenUp(Reason.NODE_REFUSED_POD, "the node shuts down"),
    "Terminated": GivenUp(Reason.NODE_EVICTED_POD, "the node shut down"),
    _EVICTED: GivenUp(
        Reason.NODE_EVICTED_POD, "raise spec.resources.requests to what the pod uses, and others are evicted before it"
    ),
    "Preempting": GivenUp(Reason.NODE_EVICTED_POD, "a pod that the node itself needs took its place"),
}
_OUT_OF: Final = "OutOf"
_FULLER: Final = GivenUp(Reason.NODE_REFUSED_POD, "the node was fuller than the scheduler knew")
_OTHERWISE: Final = GivenUp(Reason.NODE_REFUSED_POD, "kubectl describe node says more")


def find_given_up(reason: str, message: str) -> GivenUp | None:
    """Of a pod that failed, by what its status says; None if that speaks of its containers."""
    if reason == _EVICTED and message.startswith(_REJECTED):
        return _UNDER_PRESSURE
    if reason == _EVICTED and _OVER_LIMIT.search(message):
        return _TOO_LARGE
    if (known := _BY_REASON.get(reason)) is not None:
        return known
    if reason.startswith(_OUT_OF):
        return _FULLER
    return _OTHERWISE if message.startswith(_REJECTED) else None
