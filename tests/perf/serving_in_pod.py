"""`make bench-serving`: perf/serving.py in a pod of the CPU runtime, with a model so small that servers are the limit.

Two layers of SmolLM2's shape with random weights: the engine is then faster than a GPU with a real model, so that what
is compared is the servers. Two cores are shared by the engine, the server and the client.
"""

import json
from typing import Any

from cluster.bring_up import bring_up
from cluster.kubectl import kubectl, kubectl_json, wait_until
from cluster.paths import REPOSITORY
from cluster.progress import say

NAME, NAMESPACE = "bench-serving", "default"
RUNTIME = "localhost/triton-vllm-operator/runtime-cpu:0.32.0"
WEIGHTS = "localhost/triton-vllm-operator/smollm2-135m-instruct:1"
SHAPE = {"num_hidden_layers": 2, "hidden_size": 192, "intermediate_size": 384, "num_attention_heads": 3}
ENGINE = {
    "hf_overrides": {**SHAPE, "num_key_value_heads": 1, "head_dim": 64},
    "load_format": "dummy",
    "max_model_len": 1024,
    "max_num_seqs": 256,
    "enforce_eager": True,
}
SECONDS = 3600


def main() -> None:
    """Run the benchmark and print its log."""
    bring_up()
    kubectl("-n", NAMESPACE, "delete", "pod,configmap", NAME, "--ignore-not-found", "--now")
    for manifest in _manifests():
        kubectl("apply", "-f", "-", stdin=json.dumps(manifest))

    def is_over() -> bool:
        return kubectl_json("-n", NAMESPACE, "get", "pod", NAME)["status"]["phase"] in ("Succeeded", "Failed")

    wait_until("the benchmark is over", SECONDS, is_over)
    say(kubectl("-n", NAMESPACE, "logs", NAME))
    kubectl("-n", NAMESPACE, "delete", "pod,configmap", NAME, "--now")


def _manifests() -> list[dict[str, Any]]:
    metadata = {"name": NAME, "namespace": NAMESPACE}
    script = (REPOSITORY / "tests/perf/serving.py").read_text()
    container = {
        "name": NAME,
        "image": RUNTIME,
        "imagePullPolicy": "Never",
        "command": ["python", "/bench/serving.py", "/weights", "--engine", json.dumps(ENGINE), "--processes=1"],
        "env": [
            {"name": "HOME", "value": "/tmp"},
            {"name": "HF_HUB_OFFLINE", "value": "1"},
            {"name": "VLLM_CPU_KVCACHE_SPACE", "value": "1"},
            # One core for the engine, one for the server and its clients: else they fight over both.
            {"name": "OMP_NUM_THREADS", "value": "1"},
        ],
        "volumeMounts": [
            {"name": "bench", "mountPath": "/bench"},
            {"name": "weights", "mountPath": "/weights"},
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
    }
    volumes = [
        {"name": "bench", "configMap": {"name": NAME}},
        {"name": "weights", "image": {"reference": WEIGHTS, "pullPolicy": "Never"}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
    ]
    spec = {"restartPolicy": "Never", "enableServiceLinks": False, "containers": [container], "volumes": volumes}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"serving.py": script}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec},
    ]


if __name__ == "__main__":
    main()
