"""The settings of the operator's process, from its environment. The chart sets them."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from triton_vllm_operator.repository.catalogue import DEFAULT_TOOLS_IMAGE

_PREFIX: Final = "TRITON_VLLM_OPERATOR_"


@dataclass(frozen=True, slots=True)
class Settings:
    """How this process runs."""

    namespaces: tuple[str, ...] = ()
    """Namespaces to watch; empty means all."""
    catalogue: Path | None = None
    """File of the runtime catalogue; None means the package's own."""
    custom_images: bool = False
    """Whether spec.runtime.image may name any image."""
    trust_remote_code: bool = True
    """Whether spec.engine.trustRemoteCode may be true."""
    token_endpoints: tuple[str, ...] = ()
    """Mirrors of the hub, beside the hub itself, to which an access token may be sent."""
    tools_image: str = DEFAULT_TOOLS_IMAGE
    """Image of the program that fetches and checks models."""
    kubeconfig: Path | None = None
    """For a process outside the cluster; None means the pod's service account."""
    port: int = 8080
    """Where /healthz and /metrics are served."""
    workers: int = 16
    """Reconciles under way at once; the API server is the limit, not this process."""
    resync_seconds: float = 600.0
    """Seconds between two comparisons of the cache with fresh lists."""
    log_level: str = "INFO"


def read_settings(environment: Mapping[str, str]) -> Settings:
    """The settings that an environment holds.

    Raises:
        ValueError: a variable holds no number or no boolean where one is needed, or no level of logging.
    """

    def get(name: str, default: str = "") -> str:
        return environment.get(_PREFIX + name, default)

    def path(name: str) -> Path | None:
        return Path(get(name)) if get(name) else None

    def flag(name: str, default: str) -> bool:
        value = get(name, default)
        if value not in ("true", "false"):
            raise ValueError(f"{_PREFIX}{name} {value!r} is neither true nor false")
        return value == "true"

    return Settings(
        namespaces=tuple(sorted(filter(None, get("NAMESPACES").split(",")))),
        catalogue=path("CATALOGUE"),
        custom_images=flag("ALLOW_CUSTOM_IMAGES", "false"),
        trust_remote_code=flag("ALLOW_TRUST_REMOTE_CODE", "true"),
        token_endpoints=tuple(filter(None, get("ALLOW_TOKEN_ENDPOINTS").split(","))),
        tools_image=get("MODEL_TOOLS_IMAGE") or DEFAULT_TOOLS_IMAGE,
        kubeconfig=path("KUBECONFIG"),
        port=int(get("PORT", "8080")),
        workers=int(get("WORKERS", "16")),
        resync_seconds=float(get("RESYNC_SECONDS", "600")),
        log_level=_log_level(get("LOG_LEVEL", "INFO")),
    )


def _log_level(name: str) -> str:
    known = sorted(logging.getLevelNamesMapping())
    if name not in known:
        raise ValueError(f"{_PREFIX}LOG_LEVEL {name!r} is none of {', '.join(known)}")
    return name


def settings_from_process() -> Settings:
    """The settings of this process."""
    return read_settings(os.environ)
