"""The Event that `kubectl describe llm` shows. Pure."""

from datetime import datetime
from typing import Final

from triton_vllm_operator.api import names
from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.times import format_time
from triton_vllm_operator.manifests.identity import Owner, content_hash

_MESSAGE_LIMIT: Final = 1024
"""Characters that the API server takes."""


def build_event(owner: Owner, reason: str, message: str, about: str, is_warning: bool, now: datetime) -> Json:
    """An Event about an LLMDeployment. Its name hangs on what it is about: told twice, it is there once."""
    at = format_time(now)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "namespace": owner.namespace,
            "name": f"{owner.name}.{content_hash({'uid': owner.uid, 'reason': reason, 'about': about})}",
        },
        "involvedObject": {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "namespace": owner.namespace,
            "name": owner.name,
            "uid": owner.uid,
        },
        "type": "Warning" if is_warning else "Normal",
        "reason": reason,
        "message": message[:_MESSAGE_LIMIT],
        "source": {"component": names.MANAGER},
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }
