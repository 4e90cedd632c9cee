"""What the administrator decides for every LLMDeployment of the cluster; the chart's values become this."""

from typing import Annotated, Final

from pydantic import Field

from triton_vllm_operator import __version__
from triton_vllm_operator.api.base import ApiModel, Form
from triton_vllm_operator.api.hub import ENDPOINT_PATTERN

DEFAULT_TOOLS_IMAGE: Final = f"localhost/triton-vllm-operator/model-tools:{__version__}"
CA_LIMIT: Final = 100_000
"""Characters; it travels in an environment variable, and Linux takes 128 KiB of one."""

ProxyAddress = Annotated[
    str,
    Field(max_length=256),
    Form(
        "^(https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/?)?$",
        "a proxy is http:// or https:// and a host with a port; name and password would stand in every pod",
    ),
]


class Allow(ApiModel):
    """What users may write in an LLMDeployment."""

    custom_images: bool = False
    """Whether spec.runtime.image may name any image."""
    trust_remote_code: bool = True
    """Whether spec.engine.trustRemoteCode may be true."""
    token_endpoints: tuple[Annotated[str, Form(ENDPOINT_PATTERN, "a mirror is http(s)://HOST")], ...] | None = ()
    """Mirrors of the hub, beside the hub itself, to which an access token may be sent; None: any."""
    service_accounts: tuple[str, ...] | None = ()
    """ServiceAccounts that pods may have, as NAME or NAMESPACE/NAME; None: any."""
    unknown_environment: bool = False
    """Whether spec.env may hold variables that the operator knows nothing of."""

    def takes_service_account(self, namespace: str, name: str) -> bool:
        """Whether pods of that namespace may have it."""
        listed = self.service_accounts
        return listed is None or name in listed or f"{namespace}/{name}" in listed


class Proxy(ApiModel):
    """The proxies through which models are fetched; empty means none."""

    http: ProxyAddress = ""
    https: ProxyAddress = ""
    no_proxy: str = Field("", max_length=4096)
    """Hosts that are asked directly, with commas between."""


class Pods(ApiModel):
    """What all pods of all LLMDeployments have in common."""

    tools_image: str = DEFAULT_TOOLS_IMAGE
    """Image of the program that fetches and checks models."""
    set_user: bool = True
    """Whether pods name their user and group; else the cluster assigns them, as OpenShift does."""
    proxy: Proxy = Proxy()
    ca_bundle: str = Field("", max_length=CA_LIMIT)
    """Certificate authorities in PEM form that a fetch trusts beside the public ones."""


class Policy(ApiModel):
    """All of it."""

    allow: Allow = Allow()
    pods: Pods = Pods()
