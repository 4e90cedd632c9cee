"""Apply: the only place that writes for an LLMDeployment."""

import logging
from datetime import datetime
from http import HTTPStatus
from typing import Final

from triton_vllm_operator.api import names
from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.status import LLMDeploymentStatus
from triton_vllm_operator.api.times import format_time
from triton_vllm_operator.kube.cache import Cache
from triton_vllm_operator.kube.client import KubeClient
from triton_vllm_operator.kube.errors import ApiError, Conflict, Gone, Refused, Unavailable
from triton_vllm_operator.kube.pod_reading import image_volumes
from triton_vllm_operator.kube.resources import (
    LLM_DEPLOYMENT,
    POD,
    Kind,
    as_dict,
    controller_uid,
    kind_of,
    metadata_of,
    name_of,
)
from triton_vllm_operator.manifests.event import build_event
from triton_vllm_operator.manifests.identity import Owner
from triton_vllm_operator.reconcile.drift import differs
from triton_vllm_operator.reconcile.model import (
    IMAGE_VOLUMES_DROPPED,
    Applied,
    Child,
    CostPatch,
    GatePatch,
    News,
    Refusal,
    Replacement,
    Write,
)

_LOG = logging.getLogger(__name__)
_ACTED_ON: Final = ("recovery", "stopped")
"""Members of a status by which pods are deleted."""
_COST_MANAGER: Final = f"{names.MANAGER}-costs"
_SECONDS_OF_THE_DEAD: Final = 5
"""Until kubelet kills a pod that is replaced: a server waits for its engine, and this one will not come."""


class Writer:
    """Writes decisions to the API server, and takes the answers into the cache."""

    def __init__(self, client: KubeClient, cache: Cache) -> None:
        self._client = client
        self._cache = cache
        # A fact of the cluster and not of any object: after a restart the first write finds it out again.
        self._keeps_image_volumes = False

    async def write_children(self, writes: tuple[Write, ...]) -> Applied:
        """Write in order; stop at the first manifest that cannot be written.

        Raises:
            Gone: the namespace is being deleted.
            ApiError: the API server could not be reached.
        """
        rewritten: list[str] = []
        left_out: list[str] = []
        for write in writes:
            kind, name = kind_of(write.manifest), name_of(write.manifest)
            try:
                if await self._drops_image_volumes(write):
                    return Applied(refusal=Refusal(kind.kind, name, IMAGE_VOLUMES_DROPPED))
                stored = await self._write_child(kind, write)
            except Conflict:
                raise
            except ApiError as error:
                if not _is_said_of_object(error):
                    raise
                if write.is_optional:
                    _LOG.warning("%s %s is left out: %s", kind.kind, name, error.message)
                    left_out.append(f"{kind.kind} {name}")
                    continue
                return Applied(refusal=Refusal(kind.kind, name, error.message))
            if stored is None:
                return Applied(foreign=(f"{kind.kind} {name}",))
            self._cache.put(kind, stored)
            if differs(write.manifest, stored):
                rewritten.append(f"{kind.kind} {name}")
        applied = [f"{write.manifest['kind']} {name_of(write.manifest)}" for write in writes]
        if taken := [each for each in applied if each not in left_out]:
            _LOG.info("applied %s", ", ".join(taken), extra=_identity(writes[0].manifest))
        return Applied(left_out=tuple(left_out), rewritten=tuple(rewritten))

    async def _drops_image_volumes(self, write: Write) -> bool:
        """Whether the API server would take the manifest without its image volumes; asked until it once kept one."""
        if self._keeps_image_volumes or not (wanted := image_volumes(write.manifest)):
            return False
        try:
            kept = image_volumes(await self._create_or_change(write, dry_run=True))
        except Conflict:
            # The write itself finds out what is in its way.
            return False
        self._keeps_image_volumes = wanted <= kept
        return not self._keeps_image_volumes

    async def _write_child(self, kind: Kind, write: Write) -> Json | None:
        """The child as it is afterwards; None if an object of somebody else has its name."""
        try:
            return await self._create_or_change(write)
        except Conflict:
            found = await self._look_up(kind, write.manifest)
        if found is not None and controller_uid(found) != controller_uid(write.manifest):
            return None
        # The watch is behind, or does not see it: somebody took our labels away.
        uid = None if found is None else str(metadata_of(found)["uid"])
        return await self._create_or_change(Write(write.manifest, uid))

    async def _look_up(self, kind: Kind, manifest: Json) -> Json | None:
        try:
            return await self._client.get(kind, str(metadata_of(manifest)["namespace"]), name_of(manifest))
        except Refused as error:
            # It is the look that is refused, not the child.
            raise Unavailable(error.status, f"get {kind.kind} {name_of(manifest)}", error.message) from error

    async def _create_or_change(self, write: Write, dry_run: bool = False) -> Json:
        if write.uid is None:
            return await self._client.create(write.manifest, dry_run)
        manifest = {**write.manifest, "metadata": {**metadata_of(write.manifest), "uid": write.uid}}
        return await self._client.apply(manifest, dry_run=dry_run)

    async def prune(self, namespace: str, children: tuple[Child, ...]) -> None:
        """Delete children that nothing uses any more.

        Raises:
            ApiError: a child could not be deleted.
        """
        for child in children:
            await self._client.delete(child.kind, namespace, child.name, child.uid)
            _LOG.info("pruned %s %s/%s", child.kind.kind, namespace, child.name)

    async def write_gates(self, namespace: str, patches: tuple[GatePatch, ...]) -> bool:
        """Write verdicts to the pods they speak of, whether any was written; a pod that is gone needs none.

        Raises:
            ApiError: a pod could not be written to.
        """
        written = False
        for patch in patches:
            try:
                self._cache.put(POD, await self._client.apply(_gate_manifest(namespace, patch), "status"))
            except (Gone, Conflict):
                # The event that tells of its end, or of another pod of this name, is on its way.
                continue
            written = True
            verdict = "generates" if patch.state.generates else "does not generate"
            _LOG.info("pod %s/%s %s: %s", namespace, patch.pod_name, verdict, patch.state.message)
        return written

    async def write_costs(self, namespace: str, patches: tuple[CostPatch, ...]) -> None:
        """Write to pods by what Kubernetes chooses which of them go; one that cannot be written to is as any other.

        Raises:
            ApiError: the API server could not be reached.
        """
        for patch in patches:
            try:
                stored = await self._client.apply(_cost_manifest(namespace, patch), "status", manager=_COST_MANAGER)
            except (Gone, Conflict):
                continue
            except ApiError as error:
                if not _is_said_of_object(error):
                    raise
                _LOG.warning("pod %s/%s gets no deletion cost: %s", namespace, patch.pod_name, error.message)
                continue
            self._cache.put(POD, stored)

    async def replace(self, namespace: str, replacement: Replacement) -> bool:
        """Delete a pod whose engine is dead, so that another one starts; False if another pod has its name by now.

        Raises:
            ApiError: it could not be deleted.
        """
        name, uid = replacement.pod_name, replacement.pod_uid
        try:
            deleted = await self._client.delete(POD, namespace, name, uid, _SECONDS_OF_THE_DEAD)
        except Conflict:
            return False
        if deleted.get("kind") == POD.kind:
            # The next look may come before the event does, and would delete it again.
            self._cache.put(POD, deleted)
        _LOG.info("replaced pod %s/%s: %s", namespace, name, replacement.reason)
        return True

    async def write_status(self, owner: Owner, status: LLMDeploymentStatus) -> bool:
        """Write the status; False if the LLMDeployment is gone, or does not keep by what the operator acts.

        Raises:
            ApiError: the status could not be written.
        """
        manifest: Json = {
            **_header(LLM_DEPLOYMENT, owner.namespace, owner.name, owner.uid),
            "status": status.model_dump(mode="json", by_alias=True, exclude_none=True),
        }
        try:
            stored = await self._client.apply(manifest, "status")
        except (Gone, Conflict):
            return False
        self._cache.put(LLM_DEPLOYMENT, stored)
        given, kept = as_dict(manifest["status"]), as_dict(stored.get("status"))
        if lost := [name for name in _ACTED_ON if name in given and name not in kept]:
            said = "the CRD is older than the operator, and keeps no status.%s of %s/%s: no pod is replaced or stopped"
            _LOG.warning(said, ", status.".join(lost), owner.namespace, owner.name)
            return False
        return True

    async def tell(self, owner: Owner, news: tuple[News, ...], now: datetime) -> None:
        """Write Events; one that was told already is not told again, and one that cannot be told keeps nothing up."""
        for each in news:
            try:
                await self._client.post_event(
                    build_event(owner, each.reason, each.message, each.about, each.is_warning, now)
                )
            except Conflict:
                continue
            except ApiError as error:
                _LOG.warning("cannot tell of %s for %s/%s: %s", each.reason, owner.namespace, owner.name, error)


def _is_said_of_object(error: ApiError) -> bool:
    """So is 500, not of the server: a webhook that fails, an object that is too large."""
    return isinstance(error, Refused) or error.status == HTTPStatus.INTERNAL_SERVER_ERROR


def _gate_manifest(namespace: str, patch: GatePatch) -> Json:
    condition = {
        "type": names.READINESS_GATE,
        "status": "True" if patch.state.generates else "False",
        "reason": patch.state.reason.value,
        "message": patch.state.message,
        "lastTransitionTime": format_time(patch.since),
    }
    return {**_header(POD, namespace, patch.pod_name, patch.pod_uid), "status": {"conditions": [condition]}}


def _cost_manifest(namespace: str, patch: CostPatch) -> Json:
    """Of the status: metadata may be written with it, and pods themselves the operator may not change."""
    header = _header(POD, namespace, patch.pod_name, patch.pod_uid)
    annotations = {names.ANNOTATION_DELETION_COST: str(patch.cost)}
    return {**header, "metadata": {**metadata_of(header), "annotations": annotations}}


def _header(kind: Kind, namespace: str, name: str, uid: str) -> Json:
    """With the uid, an object that was made anew under the same name is not written to."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"namespace": namespace, "name": name, "uid": uid},
    }


def _identity(manifest: Json) -> dict[str, str]:
    metadata = manifest["metadata"]
    assert isinstance(metadata, dict)
    return {"llmdeployment": f"{metadata['namespace']}/{metadata['labels'][names.LABEL_INSTANCE]}"}
