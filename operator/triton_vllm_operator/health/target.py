"""What is probed."""

from dataclasses import dataclass

from triton_vllm_operator.api import names
from triton_vllm_operator.api.spec import Probe


def url_host(ip: str) -> str:
    """An address as it stands in a URL."""
    return f"[{ip}]" if ":" in ip else ip


def metrics_url(ip: str) -> str:
    """Where the counters of a pod's engine stand."""
    return f"http://{url_host(ip)}:{names.PORT_METRICS}/metrics"


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """One container to probe, and how."""

    pod_uid: str
    pod_name: str
    container_id: str
    ip: str
    served_name: str
    settings: Probe
    proven: bool
    """Whether this container has generated and was warmed up, as its gate says, or an earlier probe."""
    was_varied: bool = False
    """Whether its first proof is known to have been more than one token over and over."""
    adapters: tuple[str, ...] = ()
    """Names of its LoRA adapters."""
    max_model_len: int | None = None
    """As the spec sets it."""

    @property
    def generate_url(self) -> str:
        """Where the probe is sent."""
        return f"http://{url_host(self.ip)}:{names.PORT_HTTP}/v2/models/{self.served_name}/generate_stream"

    @property
    def metrics_url(self) -> str:
        """Where the counters of the engine stand."""
        return metrics_url(self.ip)
