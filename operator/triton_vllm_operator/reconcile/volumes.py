"""Volumes that one node at a time can have. Pure."""

import re
from typing import Final

from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.kube.resources import as_dict
from triton_vllm_operator.manifests.revision import Revision
from triton_vllm_operator.reconcile.model import Observed

# What kubelet says once it has waited for that (WaitForAttachAndMount): a mount that fails leaves the list empty.
# https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/kubelet/volumemanager/volume_manager.go
_NOT_ATTACHED: Final = re.compile(r"FailedAttachVolume: |FailedMount: .*unattached volumes=\[[^\]]", re.DOTALL)


def awaits_volume(observed: Observed, pod: Pod) -> bool:
    """Whether its node waits for a volume that a pod on another node uses, which alone can let it go.

    What cannot be mounted for another reason would be so in the place of that pod, too.
    """
    if not _NOT_ATTACHED.match(pod.held):
        return False
    of_revisions = {revision.hash: _find_claims(revision) for revision in observed.revisions}
    mine = of_revisions.get(pod.revision, frozenset())
    elsewhere = (other for other in observed.pods if other.node and other.node != pod.node)
    return any(mine & of_revisions.get(other.revision, mine) for other in elsewhere)


def _find_claims(revision: Revision) -> frozenset[str]:
    """The claims that pods of a revision mount."""
    volumes = as_dict(revision.pod_template.get("spec")).get("volumes")
    claims = (as_dict(volume.get("persistentVolumeClaim")) for volume in volumes) if isinstance(volumes, list) else ()
    return frozenset(str(claim["claimName"]) for claim in claims if claim)
