"""What an engine compiled serves its successors: what is damaged costs a try, not the model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from cluster.kubectl import kubectl
from support.llm import SMOLLM2, apply, condition, make_llm, wait_for, wait_ready
from support.volume import bind_folder
from triton_vllm_operator.memory.measured import read_measured

pytestmark = [pytest.mark.e2e, pytest.mark.full]
NAME: Final = "compiled"
CLAIM: Final = "compiled"
COMPILES: Final = {**SMOLLM2["engine"], "enforceEager": False}


@pytest.fixture
def folder(shared_namespace: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder behind the claim."""
    folder = tmp_path_factory.mktemp("compiled")
    for path in (folder, *folder.parents[:2]):
        path.chmod(0o755)
    folder.chmod(0o777)
    bind_folder(shared_namespace, CLAIM, folder, "ReadWriteMany")
    yield folder
    kubectl("-n", shared_namespace, "delete", "llm", NAME, "--ignore-not-found", timeout=180)


def test_the_second_start_compiles_nothing_and_damage_is_survived(shared_namespace: str, folder: Path) -> None:
    claim = {"persistentVolumeClaim": {"claimName": CLAIM}}
    apply(make_llm(NAME, shared_namespace, engine=COMPILES, cache=claim))
    first = read_start(shared_namespace)
    assert ", empty" in first.log
    libraries = find_libraries(folder)
    assert libraries
    replace_pod(shared_namespace)
    second = read_start(shared_namespace)
    assert "with what earlier starts compiled" in second.log
    print(f"engine started in {first.init_seconds} s, then {second.init_seconds} s")
    # On a CPU much of a start is tracing, which is not kept.
    print(f"{len(libraries)} libraries, then {len(find_libraries(folder))}")
    assert find_libraries(folder) == libraries
    assert second.init_seconds < first.init_seconds
    damage(folder)
    replace_pod(shared_namespace)
    third = read_start(shared_namespace)
    print(f"after the damage: {third.init_seconds} s")


class Start:
    """What one pod said of its start."""

    def __init__(self, log: str) -> None:
        self.log = log
        measured = read_measured(log)
        assert measured is not None, log[-3000:]
        assert measured.init_seconds is not None, log[-3000:]
        self.init_seconds = measured.init_seconds


def read_start(namespace: str) -> Start:
    """Of the one pod there is, once it is ready."""
    wait_ready(namespace, NAME, 600)
    return Start(kubectl("-n", namespace, "logs", f"deploy/{NAME}", "-c", "triton"))


def replace_pod(namespace: str) -> None:
    selector = f"app.kubernetes.io/instance={NAME},app.kubernetes.io/name=triton-vllm"
    kubectl("-n", namespace, "delete", "pod", "-l", selector, timeout=180)
    wait_for(namespace, NAME, "is not ready", 60, lambda llm: condition(llm, "Ready").get("status") != "True")


def find_libraries(folder: Path) -> set[Path]:
    """What was compiled for the processor."""
    return set(folder.rglob("*.so"))


def damage(folder: Path) -> None:
    """Cut every file in half."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > 1]
    assert files
    for path in files:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
