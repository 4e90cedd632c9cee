"""Apply: the only place that writes for an LLMDeployment."""

import logging

from triton_vllm_operator.api import names
from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.status import LLMDeploymentStatus
from triton_vllm_operator.kube.cache import Cache
from triton_vllm_operator.kube.client import KubeClient
from triton_vllm_operator.kube.errors import Gone, Refused
from triton_vllm_operator.kube.resources import LLM_DEPLOYMENT, POD, Kind, kind_of, name_of
from triton_vllm_operator.manifests.identity import Owner
from triton_vllm_operator.reconcile.drift import differs
from triton_vllm_operator.reconcile.model import Applied, Child, GatePatch, Refusal

_LOG = logging.getLogger(__name__)


class Writer:
    """Writes decisions to the API server, and takes the answers into the cache."""

    def __init__(self, client: KubeClient, cache: Cache) -> None:
        self._client = client
        self._cache = cache

    async def apply_children(self, manifests: tuple[Json, ...]) -> Applied:
        """Apply in order; stop at the first manifest that the API server does not take.

        Raises:
            Gone: the namespace is being deleted.
            ApiError: the API server could not be reached.
        """
        rewritten: list[str] = []
        for manifest in manifests:
            kind, name = kind_of(manifest), name_of(manifest)
            try:
                stored = await self._client.apply(manifest)
            except Refused as error:
                return Applied(refusal=Refusal(kind.kind, name, error.message))
            self._cache.put(kind, stored)
            if differs(manifest, stored):
                rewritten.append(f"{kind.kind} {name}")
        if manifests:
            applied = ", ".join(f"{manifest['kind']} {name_of(manifest)}" for manifest in manifests)
            _LOG.info("applied %s", applied, extra=_identity(manifests[0]))
        return Applied(rewritten=tuple(rewritten))

    async def prune(self, namespace: str, children: tuple[Child, ...]) -> None:
        """Delete children that nothing uses any more.

        Raises:
            ApiError: a child could not be deleted.
        """
        for child in children:
            await self._client.delete(child.kind, namespace, child.name, child.uid)
            _LOG.info("pruned %s %s/%s", child.kind.kind, namespace, child.name)

    async def write_gates(self, namespace: str, patches: tuple[GatePatch, ...]) -> None:
        """Write verdicts to the pods they speak of; a pod that is gone needs none.

        Raises:
            ApiError: a pod could not be written to.
        """
        for patch in patches:
            try:
                self._cache.put(POD, await self._client.apply(_gate_manifest(namespace, patch), "status"))
            except Gone:
                continue
            except Refused as error:
                # 409: a pod of another uid has this name; the event that brings it is on its way.
                if error.status != 409:
                    raise
                continue
            verdict = "generates" if patch.state.generates else "does not generate"
            _LOG.info("pod %s/%s %s: %s", namespace, patch.pod_name, verdict, patch.state.message)

    async def write_status(self, owner: Owner, status: LLMDeploymentStatus) -> None:
        """Write the status of the LLMDeployment; one that is gone needs none.

        Raises:
            ApiError: the status could not be written.
        """
        manifest: Json = {
            **_header(LLM_DEPLOYMENT, owner.namespace, owner.name, owner.uid),
            "status": status.model_dump(mode="json", by_alias=True, exclude_none=True),
        }
        try:
            self._cache.put(LLM_DEPLOYMENT, await self._client.apply(manifest, "status"))
        except Gone:
            return


def _gate_manifest(namespace: str, patch: GatePatch) -> Json:
    condition = {
        "type": names.READINESS_GATE,
        "status": "True" if patch.state.generates else "False",
        "reason": patch.state.reason.value,
        "message": patch.state.message,
        "lastTransitionTime": patch.since.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    return {**_header(POD, namespace, patch.pod_name, patch.pod_uid), "status": {"conditions": [condition]}}


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
