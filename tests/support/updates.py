"""One LLMDeployment on pretended GPUs, and what is said of it while it is updated."""

from collections.abc import Callable
from typing import Any, Final

from cluster.kubectl import wait_until
from support.client_pod import run_client_beside
from support.llm import apply, condition, get_llm, wait_ready
from support.pretended import pretended_llm

NAME: Final = "updated"


def edited(namespace: str, number: int, **spec: Any) -> dict[str, Any]:
    """Another spec for each number."""
    return pretended_llm(NAME, namespace, engine={"maxNumSeqs": 8 + number}, **spec)


def serve(namespace: str, **spec: Any) -> None:
    """Until it is ready."""
    apply(edited(namespace, 0, **spec))
    wait_ready(namespace, NAME)


def update(namespace: str, number: int, **spec: Any) -> list[tuple[str, str]]:
    """Edit, and wait until the new pods serve; each reason of Progressing that was seen, with its message."""
    apply(edited(namespace, number, **spec))
    return watch_until_ready(namespace)


def watch_until_ready(namespace: str, seconds: float = 180) -> list[tuple[str, str]]:
    """Each reason of Progressing that is seen, with its message."""
    said: dict[str, str] = {}

    def is_ready() -> bool:
        llm = get_llm(namespace, NAME)
        if llm["status"].get("observedGeneration") != llm["metadata"]["generation"]:
            return False
        progressing = condition(llm, "Progressing")
        said.setdefault(progressing["reason"], progressing["message"])
        return bool(condition(llm, "Ready")["status"] == "True")

    wait_until(f"{NAME} is ready", seconds, is_ready, every=0.2)
    return list(said.items())


def asked(namespace: str, seconds: int, work: Callable[[], object]) -> dict[str, Any]:
    """What a client of the Service saw, for so many seconds, in which something is done."""
    url = f"http://{NAME}.{namespace}.svc:8000/v2/models/{NAME}/generate"
    return run_client_beside(namespace, work, "gaps.py", url, str(seconds), seconds=seconds + 120)
