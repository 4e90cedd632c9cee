"""Volumes that one node at a time can have. Pure."""

import re
from typing import Final

from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.kube.resources import as_dict, as_list
from triton_vllm_operator.manifests.revision import Revision
from triton_vllm_operator.reconcile.model import Observed

_HELD_ELSEWHERE: Final = "FailedAttachVolume: Multi-Attach error"
"""It is said once, of a volume that one node at a time may have:
https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/controller/volume/attachdetach/reconciler/reconciler.go."""
# What kubelet says once it has waited for that, among other things that keep a volume from being attached.
# https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/kubelet/volumemanager/volume_manager.go
_NOT_ATTACHED: Final = re.compile(r"FailedMount: .*unattached volumes=\[[^\]]", re.DOTALL)


def awaits_volume(observed: Observed, pod: Pod) -> bool:
    """Whether its node waits for a volume that a pod on another node uses, which alone can let it go.

    What cannot be attached or mounted for another reason would be so in the place of that pod, too.
    """
    rollout = observed.resource.status.rollout
    has_waited = rollout is not None and rollout.waiting_since is not None
    if not (pod.held.startswith(_HELD_ELSEWHERE) or (has_waited and _NOT_ATTACHED.match(pod.held))):
        return False
    of_revisions = {revision.hash: _find_claims(revision) for revision in observed.revisions}
    mine = of_revisions.get(pod.revision, frozenset())
    elsewhere = (other for other in observed.pods if other.holds_node and other.node != pod.node)
    return any(mine & of_revisions.get(other.revision, mine) for other in elsewhere)


def _find_claims(revision: Revision) -> frozenset[str]:
    """The claims that pods of a revision mount."""
    volumes = as_list(as_dict(revision.pod_template.get("spec")).get("volumes"))
    claims = (as_dict(volume.get("persistentVolumeClaim")) for volume in volumes)
    return frozenset(str(claim["claimName"]) for claim in claims if claim)
