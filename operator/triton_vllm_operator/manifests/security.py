"""What every container of ours is denied: Pod Security admission at its strictest takes it."""

from typing import Final

from triton_vllm_operator.api.base import Json

_RUN_AS: Final = 1000

POD_SECURITY: Final[Json] = {
    "runAsNonRoot": True,
    "runAsUser": _RUN_AS,
    "runAsGroup": _RUN_AS,
    "fsGroup": _RUN_AS,
    "seccompProfile": {"type": "RuntimeDefault"},
}

CONTAINER_SECURITY: Final[Json] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
