"""What the watches saw last, reduced to what is decided on.

An object costs some 20 KB as Python dicts, so children are kept as compressed JSON (about 1 KB) and
unpacked when their LLMDeployment is reconciled.
"""

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from triton_vllm_operator.api import names
from triton_vllm_operator.api.base import Json
from triton_vllm_operator.kube.deployment import OBSERVED, find_surge
from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.kube.pod_reading import project_pod
from triton_vllm_operator.kube.resources import (
    CONFIG_MAP,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    JOB,
    LLM_DEPLOYMENT,
    POD,
    REVISION,
    SERVICE,
    Key,
    Kind,
    controller_of,
    metadata_of,
    name_of,
)

_METADATA: Final = ("name", "uid", "generation", "labels", "ownerReferences", "deletionTimestamp")
_METADATA_OF: Final = {LLM_DEPLOYMENT: ("creationTimestamp",)}
"""Beside these, of one kind."""
_ANNOTATIONS: Final = (names.ANNOTATION_APPLIED_HASH, names.ANNOTATION_PAUSED)
_WINDOW_BITS: Final = 12
_CONTENT: Final = {
    LLM_DEPLOYMENT: ("spec", "status"),
    DEPLOYMENT: ("spec", "status"),
    SERVICE: ("spec",),
    CONFIG_MAP: ("data", "immutable"),
    REVISION: ("data", "revision"),
    JOB: ("spec", "status"),
    DISRUPTION_BUDGET: ("spec",),
}
_READ_CONDITIONS: Final = {DEPLOYMENT: ("ReplicaFailure",), JOB: ("Complete", "Failed")}
"""Of a status only these conditions are read; its counters change all the time."""
UPDATED: Final = "updatedReplicas"
"""The counter that is read where Kubernetes makes no pod: how many there are of the newest template."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One object: its version, and its content packed."""

    version: int
    content: bytes | Pod

    def unpack(self) -> Json:
        """The projection of an object that is no pod."""
        assert isinstance(self.content, bytes)
        body: Json = json.loads(zlib.decompress(self.content, _WINDOW_BITS))
        return body


ObjectKey = tuple[Kind, str]
Slots = dict[tuple[Key, ObjectKey], int]
"""Where objects stand, with the version that each has."""

_REMEMBERED_DELETIONS: Final = 10_000


class Cache:
    """All LLMDeployments with their children and pods, by key of the LLMDeployment."""

    def __init__(self) -> None:
        self._objects: dict[Key, dict[ObjectKey, Stored]] = {}
        self._dropped: dict[str, int] = {}
        """Versions at which objects went, by uid. A list or an answer that was under way then is older."""

    def __len__(self) -> int:
        """The number of LLMDeployments."""
        return sum((LLM_DEPLOYMENT, key.name) in objects for key, objects in self._objects.items())

    def put(self, kind: Kind, body: Json) -> Key | None:
        """Take over an object; its key if something changed that decisions depend on."""
        key = owner_key(kind, body)
        if key is None:
            return None
        objects = self._objects.get(key, {})
        slot, version = (kind, name_of(body)), _version(body)
        known = objects.get(slot)
        if (known is not None and known.version >= version) or version < self._dropped.get(_uid(body), 0):
            return None
        content = project_pod(body) if kind == POD else _pack(kind, body)
        self._objects.setdefault(key, objects)[slot] = Stored(version, content)
        return None if known is not None and known.content == content else key

    def drop(self, kind: Kind, body: Json) -> Key | None:
        """Forget an object that was deleted; its key if it was known."""
        key = owner_key(kind, body)
        if key is None:
            return None
        while len(self._dropped) >= _REMEMBERED_DELETIONS:
            del self._dropped[next(iter(self._dropped))]
        self._dropped[_uid(body)] = _version(body)
        return self.evict(key, (kind, name_of(body)), _version(body))

    def evict(self, key: Key, slot: ObjectKey, version: int) -> Key | None:
        """Forget an object of at most this version; the key if it was known."""
        objects = self._objects.get(key, {})
        known = objects.get(slot)
        if known is None or known.version > version:
            return None
        del objects[slot]
        if not objects:
            del self._objects[key]
        return key

    def keys(self) -> tuple[Key, ...]:
        """Every key under which something is known."""
        return tuple(self._objects)

    def slots(self, kind: Kind) -> Slots:
        """Where all objects of a kind stand, to be compared with a fresh list."""
        return {
            (key, slot): stored.version
            for key, objects in self._objects.items()
            for slot, stored in objects.items()
            if slot[0] == kind
        }

    def resource(self, key: Key) -> Json | None:
        """The LLMDeployment itself."""
        stored = self._objects.get(key, {}).get((LLM_DEPLOYMENT, key.name))
        return stored.unpack() if stored else None

    def children(self, key: Key, kind: Kind) -> tuple[Json, ...]:
        """The children of one kind, by name."""
        return tuple(stored.unpack() for (_, stored) in self._of_kind(key, kind))

    def pods(self, key: Key) -> tuple[Pod, ...]:
        """The pods, by name."""
        return tuple(stored.content for (_, stored) in self._of_kind(key, POD) if isinstance(stored.content, Pod))

    def _of_kind(self, key: Key, kind: Kind) -> list[tuple[str, Stored]]:
        objects = self._objects.get(key, {})
        return sorted(
            ((name, stored) for (of, name), stored in objects.items() if of == kind), key=lambda item: item[0]
        )


def owner_key(kind: Kind, body: Json) -> Key | None:
    """The LLMDeployment that an object belongs to, by its owner, else by its label; None if it has neither.

    A pod belongs to a ReplicaSet, whose name begins with that of the LLMDeployment.
    """
    metadata = metadata_of(body)
    namespace = str(metadata.get("namespace", ""))
    if kind == LLM_DEPLOYMENT:
        return Key(namespace, name_of(body))
    labels, owner = metadata.get("labels"), controller_of(body)
    if owner.get("kind") == names.KIND:
        return Key(namespace, str(owner.get("name")))
    instance = str(labels.get(names.LABEL_INSTANCE, "")) if isinstance(labels, dict) else ""
    if not instance or (kind == POD and not str(owner.get("name", "")).startswith(f"{instance}-")):
        return None
    return Key(namespace, instance)


def evict_missing(
    cache: Cache,
    before: Slots,
    found: set[tuple[Key, ObjectKey]],
    changed: Callable[[Key], None],
) -> None:
    """Forget what was known before a list was taken and is not in it: its deletion was missed."""
    for (key, slot), version in before.items():
        if (key, slot) not in found and cache.evict(key, slot, version):
            changed(key)


def _uid(body: Json) -> str:
    return str(metadata_of(body).get("uid"))


def _version(body: Json) -> int:
    return int(str(metadata_of(body).get("resourceVersion", "0")))


def _pack(kind: Kind, body: Json) -> bytes:
    wanted = (*_METADATA, *_METADATA_OF.get(kind, ()))
    metadata = {name: value for name, value in metadata_of(body).items() if name in wanted}
    annotations = metadata_of(body).get("annotations")
    if isinstance(annotations, dict):
        # Others annotate as they work: the Deployment controller does at every rollout. Those of a Service are wanted.
        kept = annotations if kind == SERVICE else _ANNOTATIONS
        metadata["annotations"] = {name: annotations[name] for name in kept if name in annotations}
    content: Json = {name: body[name] for name in _CONTENT[kind] if name in body}
    if kind in _READ_CONDITIONS and isinstance(status := content.get("status"), dict):
        conditions = status.get("conditions", [])
        read = {"conditions": [c for c in conditions if c.get("type") in _READ_CONDITIONS[kind]]}
        started = {"startTime": status["startTime"]} if "startTime" in status else {}
        fails = kind == DEPLOYMENT and bool(read["conditions"])
        exceeds = kind == DEPLOYMENT and find_surge(body) > 1
        counted = {UPDATED: status.get(UPDATED, 0)} if fails else {}
        acted_on = {OBSERVED: status.get(OBSERVED)} if exceeds else {}
        content["status"] = {**read, **started, **counted, **acted_on}
        if not exceeds:
            metadata.pop("generation", None)
    text = json.dumps({"metadata": metadata, **content}, sort_keys=True, separators=(",", ":"))
    # A window as large as the objects: the default of 32 KiB takes 256 KiB of fresh memory for each of them.
    packer = zlib.compressobj(level=1, wbits=_WINDOW_BITS, memLevel=5)
    return packer.compress(text.encode()) + packer.flush()
