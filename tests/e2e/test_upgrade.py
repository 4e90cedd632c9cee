"""An operator of an earlier commit, upgraded to this one and back, while its pods serve."""

import io
import subprocess
import tarfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from cluster.images import MODEL_TOOLS, OPERATOR, import_as
from cluster.kubectl import kubectl_json
from cluster.paths import REPOSITORY
from support.client_pod import run_client_beside
from support.install import install_earlier, install_operator, operator_image, upgrade_operator
from support.llm import apply, make_llm, pods_of, wait_ready

pytestmark = [pytest.mark.e2e, pytest.mark.full]
NAME: Final = "stays"
COMMITS: Final = {"before rollouts": "15f5335~1", "before nodes": "6a6aea9"}
SECONDS: Final = 110
LOOK_SECONDS: Final = 20


@pytest.fixture
def _this_operator_afterwards() -> Iterator[None]:
    yield
    install_operator()


def unpack(commit: str, folder: Path) -> None:
    archive = subprocess.run(["git", "archive", commit], cwd=REPOSITORY, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tree:
        tree.extractall(folder, filter="data")


def install(folder: Path, commit: str) -> str:
    """The operator of that tree; its image."""
    tag = commit.replace("~", "-")
    operator, tools = (f"localhost/triton-vllm-operator/earlier-{kind}:{tag}" for kind in ("operator", "model-tools"))
    import_as(OPERATOR, operator, folder)
    import_as(MODEL_TOOLS, tools, folder)
    install_earlier(folder / "charts/triton-vllm-operator", operator, tools)
    assert operator_image() == operator
    return operator


def stand(namespace: str) -> dict[str, Any]:
    """By what it is seen whether anything was started anew."""
    deployment = kubectl_json("-n", namespace, "get", "deployment", NAME)
    pods = pods_of(namespace, NAME)
    return {
        "generation": deployment["metadata"]["generation"],
        "pods": [pod["metadata"]["uid"] for pod in pods],
        "containers": [each["containerID"] for pod in pods for each in pod["status"]["containerStatuses"]],
        "revisions": [each["metadata"]["uid"] for each in revisions(namespace)],
    }


def revisions(namespace: str) -> list[dict[str, Any]]:
    return list(kubectl_json("-n", namespace, "get", "controllerrevisions")["items"])


@pytest.mark.usefixtures("_this_operator_afterwards")
@pytest.mark.parametrize("earlier", COMMITS)
def test_an_upgrade_and_the_way_back_restart_nothing(namespace: str, earlier: str, tmp_path: Path) -> None:
    commit = COMMITS[earlier]
    unpack(commit, tmp_path)
    install(tmp_path, commit)
    apply(make_llm(NAME, namespace))
    wait_ready(namespace, NAME)
    before = stand(namespace)
    url = f"http://{NAME}.{namespace}.svc:8000/v2/models/{NAME}/generate"
    seen_by_step: list[dict[str, Any]] = []

    def there_and_back() -> None:
        for step in (upgrade_operator, partial(install, tmp_path, commit)):
            step()
            time.sleep(LOOK_SECONDS)
            seen_by_step.append(stand(namespace))
            wait_ready(namespace, NAME, 30)

    seen = run_client_beside(namespace, there_and_back, "gaps.py", url, str(SECONDS), seconds=SECONDS + 120)
    print(f"{earlier} ({commit}): {seen}")
    assert seen_by_step == [before, before]
    assert seen["failed"] == 0
