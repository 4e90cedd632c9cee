"""What the scheduler says of a pod that it has no node for. Pure."""

import re
from typing import Final

from triton_vllm_operator.kube.pod import Pod

_NO_CLAIM: Final = re.compile(r"persistentvolumeclaim \S+ not found")
_CLAIM_UNFIT: Final = re.compile(
    r"(?i)persistentvolumeclaim \S+ (not found|is being deleted|bound to non-existent)"
    r"|unbound immediate persistentvolumeclaims|storageclass\S* \S+ not found"
)
"""What the scheduler says of a pod before it looks at any node:
https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/scheduler/framework/plugins/volumebinding/volume_binding.go."""
_INSUFFICIENT: Final = re.compile(r"(\d+) Insufficient ")
"""https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/scheduler/framework/plugins/noderesources/fit.go."""
_GATED: Final = "scheduling gates"
"""https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/scheduler/framework/plugins/schedulinggates/scheduling_gates.go."""
_CLAIM_REMEDY: Final = "create the claim, or name another one in spec.model"


def say_unplaced(pod: Pod) -> str:
    """Why it has none, and what would help."""
    if _GATED in pod.unschedulable:
        return (
            f"pod {pod.name} is held back by a scheduling gate, as a queue sets it (Kueue): {pod.unschedulable}; "
            "whoever set the gate lets it go"
        )
    remedy = f"; {_CLAIM_REMEDY}" if _NO_CLAIM.search(pod.unschedulable) else ""
    return f"pod {pod.name} fits on no node: {pod.unschedulable}{remedy}"


def lacks_claim(pod: Pod) -> bool:
    """Whether no node can take it, whatever is free there: a claim of it is not there, or has no volume."""
    return _CLAIM_UNFIT.search(pod.unschedulable) is not None


def count_short_nodes(pod: Pod) -> int:
    """Of how many nodes the scheduler says that they lack room alone; more may lack several things."""
    return max((int(count) for count in _INSUFFICIENT.findall(pod.unschedulable)), default=0)
