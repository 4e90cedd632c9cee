"""What all children of one LLMDeployment share, and how a child is recognised."""

import hashlib
import json
from dataclasses import dataclass

from triton_vllm_operator.api import names
from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.pods import Marks


@dataclass(frozen=True, slots=True)
class Owner:
    """The LLMDeployment that a child belongs to."""

    namespace: str
    name: str
    uid: str

    @property
    def reference(self) -> Json:
        """The controller reference that makes Kubernetes collect the child with its owner."""
        return {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }


def build_child(
    owner: Owner, api_version: str, kind: str, name: str, content: Json, marks: Marks | None = None
) -> Json:
    """A complete child manifest, with the user's labels and annotations; its hash stands in an annotation."""
    marks = marks or Marks()
    manifest: Json = {"apiVersion": api_version, "kind": kind, **content}
    metadata: Json = {
        "name": name,
        "namespace": owner.namespace,
        "labels": {**(marks.labels or {}), **names.child_labels(owner.name)},
        "ownerReferences": [owner.reference],
    }
    hashed = {**metadata, "annotations": marks.annotations} if marks.annotations else metadata
    own = {names.ANNOTATION_APPLIED_HASH: content_hash({**manifest, "metadata": hashed})}
    return {**manifest, "metadata": {**metadata, "annotations": {**(marks.annotations or {}), **own}}}


def content_hash(content: object) -> str:
    """Ten characters that name a content: equal content, equal name."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]
