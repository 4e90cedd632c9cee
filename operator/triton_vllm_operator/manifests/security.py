"""What every container of ours is denied: Pod Security admission at its strictest takes it."""

from typing import Final

from triton_vllm_operator.api.base import Json

_RUN_AS: Final = 1000
_USER_NAME: Final = "triton"

CONTAINER_SECURITY: Final[Json] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def build_user_variables() -> list[Json]:
    """The home and the name of a user that may have no entry in passwd: torch's compiler asks for them.

    https://github.com/pytorch/pytorch/blob/main/torch/_inductor/runtime/cache_dir_utils.py
    """
    values = {"HOME": "/tmp", "USER": _USER_NAME, "LOGNAME": _USER_NAME}
    return [{"name": name, "value": value} for name, value in values.items()]


def build_pod_security(set_user: bool) -> Json:
    """The security context of a pod. Without a user the cluster assigns one, as OpenShift's restricted-v2 does."""
    user = {"runAsUser": _RUN_AS, "runAsGroup": _RUN_AS, "fsGroup": _RUN_AS} if set_user else {}
    return {"runAsNonRoot": True, **user, "seccompProfile": {"type": "RuntimeDefault"}}
