"""Folders of this machine as volumes of the local cluster."""

import json
from pathlib import Path

from cluster.kubectl import kubectl


def bind_folder(namespace: str, claim: str, folder: Path, mode: str = "ReadOnlyMany") -> None:
    """A PersistentVolumeClaim of that name whose volume is a folder of this node; gone with the namespace."""
    volume = f"{namespace}-{claim}"
    common = {"accessModes": [mode], "storageClassName": ""}
    reference = {"namespace": namespace, "name": claim}
    spec = {"capacity": {"storage": "1Gi"}, "hostPath": {"path": str(folder)}, "claimRef": reference, **common}
    # Volumes have no namespace, and may still belong to one.
    uid = kubectl("get", "namespace", namespace, "-o", "jsonpath={.metadata.uid}")
    owner = {"apiVersion": "v1", "kind": "Namespace", "name": namespace, "uid": uid}
    for manifest in (
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": volume, "ownerReferences": [owner]},
            "spec": spec,
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": reference,
            "spec": {"volumeName": volume, "resources": {"requests": {"storage": "1Gi"}}, **common},
        },
    ):
        kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
