"""What a message says would help is done, to the letter, and helps: on the real engine."""

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.images import ctr_command
from cluster.kubectl import kubectl
from cluster.shell import run
from support.adapter import write_adapter
from support.llm import SMOLLM2, apply, condition, get_llm, make_llm, wait_for, wait_ready
from support.volume import bind_folder

pytestmark = [pytest.mark.e2e, pytest.mark.full]
NAME = "mended"


@pytest.fixture(autouse=True)
def _gone_afterwards(shared_namespace: str) -> Iterator[None]:
    yield
    kubectl("-n", shared_namespace, "delete", "llm", NAME, "--ignore-not-found", timeout=180)


def said(namespace: str, reason: str, kind: str = "Ready", **changes: Any) -> str:
    """Apply a spec that cannot be served; the message that says so."""
    apply(make_llm(NAME, namespace, **changes))
    wait_for(namespace, NAME, f"says {reason}", 180, lambda x: condition(x, kind).get("reason") == reason)
    return str(condition(get_llm(namespace, NAME), kind)["message"])


def test_the_length_that_is_named_is_served(shared_namespace: str) -> None:
    engine = {**SMOLLM2["engine"], "maxModelLen": 1_000_000}
    message = said(shared_namespace, "ModelNotServable", engine=engine)
    found = re.search(r"more than the (\d+) tokens that the model knows .*: write that or less", message)
    assert found is not None, message
    apply(make_llm(NAME, shared_namespace, engine={**engine, "maxModelLen": int(found[1])}))
    wait_ready(shared_namespace, NAME)


def test_the_rank_that_is_named_is_served(shared_namespace: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("ranks")
    write_adapter(folder / "large", rank=32, seed=1)
    _open_to_all(folder)
    bind_folder(shared_namespace, "ranks", folder)
    adapter = {"name": "large", "persistentVolumeClaim": {"claimName": "ranks", "path": "large"}}
    model = {**SMOLLM2["model"], "loraAdapters": [adapter]}
    message = said(shared_namespace, "ModelNotServable", model=model)
    found = re.search(r"write spec\.engine\.maxLoraRank: (\d+)", message)
    assert found is not None, message
    apply(make_llm(NAME, shared_namespace, model=model, engine={**SMOLLM2["engine"], "maxLoraRank": int(found[1])}))
    wait_ready(shared_namespace, NAME)
    assert condition(get_llm(shared_namespace, NAME), "Ready")["message"] == "1 of 1 pods generate"


def test_more_memory_helps_where_it_ran_out(shared_namespace: str) -> None:
    little = {"requests": {"cpu": "500m", "memory": "600Mi"}, "limits": {"memory": "600Mi"}}
    message = said(shared_namespace, "OutOfMemory", resources=little)
    assert "raise spec.resources.limits.memory" in message
    apply(make_llm(NAME, shared_namespace))
    wait_ready(shared_namespace, NAME)


def test_another_prompt_helps_where_nothing_was_generated(shared_namespace: str) -> None:
    probe = {**SMOLLM2["probe"], "maxTokens": 1}
    # What follows is the end of the turn, a token without text.
    over = {**probe, "prompt": "<|im_start|>user\nSay yes.<|im_end|>\n<|im_start|>assistant\nYes.", "maxTokens": 1}
    message = said(shared_namespace, "NothingGenerated", probe=over)
    assert "choose a spec.probe.prompt that the model answers with text" in message
    apply(make_llm(NAME, shared_namespace, probe={**probe, "prompt": "Once upon a"}))
    wait_ready(shared_namespace, NAME)


def test_a_claim_that_was_missing_is_created(shared_namespace: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("late")
    write_adapter(folder / "poet", rank=8, seed=1)
    _open_to_all(folder)
    adapter = {"name": "poet", "persistentVolumeClaim": {"claimName": "late", "path": "poet"}}
    message = said(shared_namespace, "Unschedulable", model={**SMOLLM2["model"], "loraAdapters": [adapter]})
    assert "create the claim" in message
    bind_folder(shared_namespace, "late", folder)
    wait_ready(shared_namespace, NAME)


def test_an_image_that_was_missing_is_brought_to_the_node(shared_namespace: str) -> None:
    model = copy.deepcopy(SMOLLM2["model"])
    there = model["image"]["reference"]
    model["image"]["reference"] = missing = "localhost/triton-vllm-operator/brought:1"
    message = said(shared_namespace, "ImagePullFailed", model=model)
    assert "bring it to the node" in message
    run(ctr_command("images", "tag", there, missing))
    try:
        wait_ready(shared_namespace, NAME)
    finally:
        kubectl("-n", shared_namespace, "delete", "llm", NAME, timeout=180)
        run(ctr_command("images", "rm", missing))


def test_an_argument_is_written_where_it_is_said_to_belong(shared_namespace: str) -> None:
    engine = {**SMOLLM2["engine"], "extraArgs": {"max_num_seqs": 4}}
    message = said(shared_namespace, "ArgumentForbidden", "Accepted", engine=engine)
    found = re.search(r"write spec\.engine\.(\w+)", message)
    assert found is not None, message
    apply(make_llm(NAME, shared_namespace, engine={**SMOLLM2["engine"], found[1]: 4}))
    wait_ready(shared_namespace, NAME)


def _open_to_all(folder: Path) -> None:
    for path in (folder, *folder.parents[:2]):
        path.chmod(0o755)
