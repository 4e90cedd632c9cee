"""The Service: one stable name for the pods that generate."""

from typing import Final

from triton_vllm_operator.api import names
from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.pods import ServiceSettings, ServiceType
from triton_vllm_operator.manifests.identity import Owner, build_child

_NO_ADDRESS: Final = "None"
_TYPES: Final[dict[ServiceType, Json]] = {
    ServiceType.CLUSTER_IP: {"type": "ClusterIP"},
    ServiceType.NODE_PORT: {"type": "NodePort"},
    ServiceType.LOAD_BALANCER: {"type": "LoadBalancer"},
    ServiceType.HEADLESS: {"type": "ClusterIP", "clusterIP": _NO_ADDRESS},
}
_PORTS = (("http", names.PORT_HTTP), ("grpc", names.PORT_GRPC), ("metrics", names.PORT_METRICS))


def build_service(owner: Owner, settings: ServiceSettings | None) -> Json:
    """The Service of an LLMDeployment; a pod is in it while its readiness gate is True."""
    settings = settings or ServiceSettings()
    ports = [{"name": name, "port": port, "targetPort": name, "protocol": "TCP"} for name, port in _PORTS]
    spec: Json = {**_TYPES[settings.type or ServiceType.CLUSTER_IP], "selector": names.child_labels(owner.name)}
    return build_child(owner, "v1", "Service", owner.name, {"spec": {**spec, "ports": ports}}, settings)


def is_headless(service: Json) -> bool:
    """Whether a Service has no address of its own; Kubernetes lets none become so, or the other way round."""
    spec = service.get("spec")
    return isinstance(spec, dict) and spec.get("clusterIP") == _NO_ADDRESS


def generate_url(owner: Owner, served_name: str) -> str:
    """Where the model answers inside the cluster."""
    host = f"{owner.name}.{owner.namespace}.svc:{names.PORT_HTTP}"
    return f"http://{host}/v2/models/{served_name}/generate"
