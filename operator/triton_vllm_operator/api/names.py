"""Names that users, selectors and stored objects depend on: they never change."""

import re
from typing import Final

GROUP: Final = "triton-vllm.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "LLMDeployment"
PLURAL: Final = "llmdeployments"

MANAGER: Final = "triton-vllm-operator"
"""The app.kubernetes.io/managed-by label of every child, and the field manager of every apply."""

LABEL_NAME: Final = "app.kubernetes.io/name"
LABEL_INSTANCE: Final = "app.kubernetes.io/instance"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABEL_REVISION: Final = f"{GROUP}/revision"
GPU_PRODUCT_LABEL: Final = "nvidia.com/gpu.product"
"""On nodes, by NVIDIA's GPU feature discovery."""
APP_NAME: Final = "triton-vllm"
APP_FETCH: Final = "triton-vllm-fetch"
"""The name label of pods that fetch a model: the Service and the Deployment must not select them."""

ANNOTATION_APPLIED_HASH: Final = f"{GROUP}/applied-hash"
"""On every child: the hash of what was applied, so that a field we stopped setting is noticed."""
ANNOTATION_PAUSED: Final = f"{GROUP}/paused"
"""On an LLMDeployment, with any value but "false": nothing of its is changed meanwhile."""
ANNOTATION_DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
"""Kubernetes' own, on pods."""
WAIT_PROGRAM: Final = "wait_for_gpu.py"
"""What the serving container runs before the server, on GPUs (sources/wait_for_gpu.py)."""
CACHE_PROGRAM: Final = "compile_cache.py"
"""What it runs before the server where compiled code is kept (sources/compile_cache.py)."""

READINESS_GATE: Final = f"{GROUP}/generates"
"""The pod condition that the generate probe writes."""

NAME_PATTERN: Final = "^[a-z]([-a-z0-9]*[a-z0-9])?$"
NAME_LIMIT: Final = 50
"""A Service bears the name, and its children a longer one."""
NAME_RULE: Final = (
    f"metadata.name must be at most {NAME_LIMIT} characters of a-z, 0-9 and '-', beginning with a letter and not "
    "ending with '-'; a model name of another form goes to spec.model.servedName"
)

CONTAINER: Final = "triton"
PREPARE_CONTAINER: Final = "prepare"
"""The init container that checks or fetches the weights."""
FETCH_CONTAINER: Final = "fetch"
"""The container of the Job that fetches them beforehand."""
WEIGHTS: Final = "/weights"
"""Where the pod has the model."""
MODEL_VOLUME: Final = "weights"
DRAFT_VOLUME: Final = "draft"
ADAPTERS: Final = "/adapters"
"""Where the pod has a folder for each adapter, by its name."""
ADAPTER_VOLUME: Final = "adapter-"
"""Followed by the place of the adapter in the list, from 0."""
TOKENIZER_VOLUME: Final = "tokenizer"
CACHE_VOLUME: Final = "compile-cache"
PORT_HTTP: Final = 8000
PORT_GRPC: Final = 8001
PORT_METRICS: Final = 8002


def is_name(name: str) -> bool:
    """Whether an LLMDeployment may have this name."""
    return len(name) <= NAME_LIMIT and re.fullmatch(NAME_PATTERN, name) is not None


def child_labels(instance: str) -> dict[str, str]:
    """The labels of every child of one LLMDeployment; also the selector of its pods."""
    return {LABEL_NAME: APP_NAME, LABEL_INSTANCE: instance, LABEL_MANAGED_BY: MANAGER}


def fetch_labels(instance: str) -> dict[str, str]:
    """The labels of the pods that fetch a model."""
    return {**child_labels(instance), LABEL_NAME: APP_FETCH}


def child_selector() -> str:
    """The label selector, as the API server takes it, of every child and pod of every LLMDeployment."""
    return f"{LABEL_NAME} in ({APP_NAME},{APP_FETCH}),{LABEL_MANAGED_BY}={MANAGER}"
