"""The Service: one stable name for the pods that generate."""

from triton_vllm_operator.api import names
from triton_vllm_operator.api.base import Json
from triton_vllm_operator.manifests.identity import Owner, build_child

_PORTS = (("http", names.PORT_HTTP), ("grpc", names.PORT_GRPC), ("metrics", names.PORT_METRICS))


def build_service(owner: Owner) -> Json:
    """The ClusterIP Service of an LLMDeployment; a pod is in it while its readiness gate is True."""
    ports = [{"name": name, "port": port, "targetPort": name, "protocol": "TCP"} for name, port in _PORTS]
    spec: Json = {"type": "ClusterIP", "selector": names.child_labels(owner.name), "ports": ports}
    return build_child(owner, "v1", "Service", owner.name, {"spec": spec})


def generate_url(owner: Owner, served_name: str) -> str:
    """Where the model answers inside the cluster."""
    host = f"{owner.name}.{owner.namespace}.svc:{names.PORT_HTTP}"
    return f"http://{host}/v2/models/{served_name}/generate"
