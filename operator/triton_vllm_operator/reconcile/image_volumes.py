"""Whether an API server keeps images that are mounted as volumes. Pure.

Kubernetes 1.31 to 1.34 without the feature gate ImageVolume drops such volumes and their mounts, and says nothing:
https://github.com/kubernetes/kubernetes/blob/v1.34.0/pkg/api/pod/util.go (dropImageVolumes). Pods would start without
their model.
"""

from typing import Final

from triton_vllm_operator.api.base import Json

DROPPED: Final = "it drops volumes that are images"
"""In place of the API server's own words, of which there are none."""


def image_volumes(manifest: Json) -> frozenset[str]:
    """The names of the image volumes of a pod template."""
    spec = manifest.get("spec")
    template = spec.get("template") if isinstance(spec, dict) else None
    pod = template.get("spec") if isinstance(template, dict) else None
    volumes = pod.get("volumes") if isinstance(pod, dict) else None
    found = (volume for volume in volumes or () if isinstance(volume, dict)) if isinstance(volumes, list) else ()
    return frozenset(str(volume.get("name")) for volume in found if volume.get("image"))
