"""Weights from the Hugging Face hub, or from a mirror that speaks its API."""

from typing import Annotated, Final

from pydantic import Field

from triton_vllm_operator.api.base import ApiModel, Form, ObjectName, Quantity, rule
from triton_vllm_operator.api.hub_names import HUB

DEFAULT_REVISION: Final = "main"
ENDPOINT_PATTERN: Final = r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*$"
_WORD: Final = "[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?"
RepositoryName = Annotated[
    str,
    Field(min_length=1, max_length=96),
    Form(
        f"^{_WORD}(/{_WORD})?$",
        "a repository is ORGANISATION/NAME, as the hub's page is called: meta-llama/Llama-2-7b-chat-hf, without hf://, "
        "https://huggingface.co/ or a / at its end",
    ),
]
"""As the hub takes it: https://github.com/huggingface/huggingface_hub/blob/main/src/huggingface_hub/utils/_validators.py"""


KeyName = Annotated[
    str,
    Field(min_length=1, max_length=253),
    Form("^[A-Za-z0-9._-]+$", 'a key has letters, digits, ".", "_" and "-"'),
]
RevisionName = Annotated[
    str,
    Field(min_length=1, max_length=128),
    Form(
        "^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$",
        "a revision is a branch, a tag or a commit, as main, v1.0 or refs/pr/1",
    ),
]
Endpoint = Annotated[
    str,
    Field(min_length=1, max_length=256),
    Form(
        ENDPOINT_PATTERN,
        "an endpoint is http:// or https:// and a host, as https://mirror.example.com, without a / at its end",
    ),
]


class SecretKey(ApiModel):
    """One key of a Secret. The operator never reads it: the kubelet hands it to the container."""

    name: ObjectName = Field(description="Secret of this namespace.")
    key: KeyName = Field(description="Key in the Secret.")


class ConfigMapKey(ApiModel):
    """One key of a ConfigMap."""

    name: ObjectName = Field(description="ConfigMap of this namespace.")
    key: KeyName = Field(description="Key in the ConfigMap.")


class ClaimCache(ApiModel):
    """A volume of the user's own that keeps what was fetched."""

    claim_name: ObjectName = Field(description="PersistentVolumeClaim of this namespace that can be written to.")


class EmptyDirCache(ApiModel):
    """A folder of the pod: every new pod fetches the weights again."""

    size_limit: Quantity | None = Field(None, description="Size at which the node evicts the pod; unset: none.")


class FetchCache(ApiModel):
    """Where fetched weights lie: exactly one of its members."""

    persistent_volume_claim: ClaimCache | None = Field(None, description="On a volume, fetched once.")
    empty_dir: EmptyDirCache | None = Field(None, description="In the pod, fetched by each pod.")

    @rule(
        "has(self.persistentVolumeClaim) != has(self.emptyDir)",
        "set exactly one of cache.persistentVolumeClaim and cache.emptyDir",
    )
    def _is_one_place(self) -> bool:
        return (self.persistent_volume_claim is None) != (self.empty_dir is None)


class HuggingFaceSource(ApiModel):
    """A repository of the hub."""

    repository: RepositoryName = Field(description="Repository, as meta-llama/Llama-2-7b-chat-hf.")
    revision: RevisionName | None = Field(
        None,
        description="Branch, tag or commit; it is resolved to a commit when it is first written. Unset means main.",
    )
    token_secret_ref: SecretKey | None = Field(None, description="Access token, for a private or gated repository.")
    endpoint: Endpoint | None = Field(
        None, description="A mirror of the hub, as https://mirror.example.com; unset means the hub itself."
    )
    ca_config_map_ref: ConfigMapKey | None = Field(
        None,
        description="Certificate authorities of the mirror in PEM form, trusted beside the public ones and those of "
        "the administrator.",
    )
    offline: bool | None = Field(None, description="Take what the cache holds, and ask no hub.")
    cache: FetchCache | None = Field(None, description="Where the weights are kept; unset means emptyDir.")

    @rule(
        "!self.repository.contains('..') && !self.repository.contains('--') && !self.repository.endsWith('.git')",
        "repository holds '..' or '--' or ends with '.git', which the hub does not allow",
    )
    def _is_a_hub_name(self) -> bool:
        name = self.repository
        return ".." not in name and "--" not in name and not name.endswith(".git")

    @rule("!has(self.revision) || !self.revision.contains('..')", "revision holds '..', which git does not allow")
    def _is_a_git_name(self) -> bool:
        return ".." not in (self.revision or "")

    @rule(
        "!has(self.offline) || !self.offline || (has(self.cache) && has(self.cache.persistentVolumeClaim))",
        "offline needs cache.persistentVolumeClaim, a volume that holds the weights already",
    )
    def _has_a_cache_when_offline(self) -> bool:
        return not self.offline or self.claim_name is not None

    @property
    def mirror(self) -> str | None:
        """The endpoint, if it is not the hub itself."""
        return None if self.endpoint == HUB else self.endpoint

    @property
    def claim_name(self) -> str | None:
        """The volume that keeps the weights; None if each pod fetches them."""
        if self.cache is None or self.cache.persistent_volume_claim is None:
            return None
        return self.cache.persistent_volume_claim.claim_name
