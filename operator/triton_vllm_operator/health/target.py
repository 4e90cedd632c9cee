"""What is probed."""

from dataclasses import dataclass

from triton_vllm_operator.api import names
from triton_vllm_operator.api.spec import Probe


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
    """Whether the gate already says that this container generates."""

    @property
    def _host(self) -> str:
        return f"[{self.ip}]" if ":" in self.ip else self.ip

    @property
    def generate_url(self) -> str:
        """Where the probe is sent."""
        return f"http://{self._host}:{names.PORT_HTTP}/v2/models/{self.served_name}/generate_stream"

    @property
    def metrics_url(self) -> str:
        """Where the counters of the engine stand."""
        return f"http://{self._host}:{names.PORT_METRICS}/metrics"
