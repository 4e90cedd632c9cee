"""The settings of the operator's process, from its environment. The chart sets them."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PREFIX: Final = "TRITON_VLLM_OPERATOR_"


@dataclass(frozen=True, slots=True)
class Settings:
    """How this process runs."""

    namespaces: tuple[str, ...] = ()
    """Namespaces to watch; empty means all."""
    catalogue: Path | None = None
    """File of the runtime catalogue; None means the package's own."""
    policy: Path | None = None
    """File of the administrator's decisions; None means the defaults."""
    kubeconfig: Path | None = None
    """For a process outside the cluster; None means the pod's service account."""
    port: int = 8080
    """Where /healthz and /metrics are served."""
    workers: int = 16
    """Reconciles under way at once; the API server is the limit, not this process."""
    resync_seconds: float = 600.0
    """Seconds between two comparisons of the cache with fresh lists."""
    log_level: str = "INFO"
    lease: tuple[str, str] | None = None
    """Namespace and name of the Lease that the leader of several operators holds; None where there is one operator."""


def read_settings(environment: Mapping[str, str]) -> Settings:
    """The settings that an environment holds.

    Raises:
        ValueError: a variable holds no number where one is needed, no level of logging, or no name of a Lease.
    """

    def get(name: str, default: str = "") -> str:
        return environment.get(_PREFIX + name, default)

    def path(name: str) -> Path | None:
        return Path(get(name)) if get(name) else None

    return Settings(
        namespaces=tuple(sorted(filter(None, get("NAMESPACES").split(",")))),
        catalogue=path("CATALOGUE"),
        policy=path("POLICY"),
        kubeconfig=path("KUBECONFIG"),
        port=int(get("PORT", "8080")),
        workers=int(get("WORKERS", "16")),
        resync_seconds=float(get("RESYNC_SECONDS", "600")),
        log_level=_log_level(get("LOG_LEVEL", "INFO")),
        lease=_lease(get("LEASE")),
    )


def _lease(text: str) -> tuple[str, str] | None:
    if not text:
        return None
    namespace, _, name = text.partition("/")
    if not namespace or not name:
        raise ValueError(f"{_PREFIX}LEASE {text!r} is not NAMESPACE/NAME")
    return namespace, name


def _log_level(name: str) -> str:
    known = sorted(logging.getLevelNamesMapping())
    if name not in known:
        raise ValueError(f"{_PREFIX}LOG_LEVEL {name!r} is none of {', '.join(known)}")
    return name


def settings_from_process() -> Settings:
    """The settings of this process."""
    return read_settings(os.environ)
