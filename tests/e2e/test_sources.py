"""Models of a hub, fetched by the real program from a hub of this cluster; and what is said of files that are none."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cluster.images import MODEL_TOOLS
from cluster.kubectl import kubectl, kubectl_json, wait_until
from support.adapter import write_adapter
from support.forward import forwarded
from support.generate import ask
from support.hub import commit_of
from support.hub_pod import REPOSITORY, downloads, start_hub
from support.llm import SMOLLM2, apply, condition, get_llm, is_scaled_to_zero, make_llm, pods_of, wait_for, wait_ready
from support.volume import bind_folder
from triton_vllm_operator.sources.placement import folder_name

pytestmark = pytest.mark.e2e
COMMIT = commit_of(REPOSITORY)
CACHE = {"persistentVolumeClaim": {"claimName": "models"}}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that is the volume `models`."""
    folder = tmp_path_factory.mktemp("models")
    for path in (folder, *folder.parents[:2]):
        path.chmod(0o777)
    return folder


@pytest.fixture(scope="module")
def endpoint(shared_namespace: str, models: Path) -> str:
    """A hub in the namespace, and a volume `models` to fetch to."""
    bind_folder(shared_namespace, "models", models, "ReadWriteMany")
    return start_hub(shared_namespace)


def hub_llm(name: str, namespace: str, endpoint: str | None, replicas: int = 1, **hub: Any) -> dict[str, Any]:
    source = {"repository": REPOSITORY, "endpoint": endpoint, "cache": CACHE, **hub}
    model = {"huggingFace": {key: value for key, value in source.items() if value is not None}}
    return make_llm(name, namespace, model=model, replicas=replicas)


def wait_reason(namespace: str, name: str, reason: str, seconds: float = 60) -> str:
    """Wait until Ready is False for a reason; its message."""
    wait_for(namespace, name, f"says {reason}", seconds, lambda x: condition(x, "Ready").get("reason") == reason)
    return str(condition(get_llm(namespace, name), "Ready")["message"])


def test_a_model_of_the_hub_is_fetched_to_a_volume_and_answers(shared_namespace: str, endpoint: str) -> None:
    seen: list[tuple[str, bool]] = []

    def watch(llm: dict[str, Any]) -> bool:
        deployed = bool(_children(shared_namespace, "smol", "deployments"))
        seen.append((condition(get_llm(shared_namespace, "smol"), "Ready").get("reason", ""), deployed))
        return condition(llm, "Ready").get("status") == "True"

    apply(hub_llm("smol", shared_namespace, endpoint))
    wait_for(shared_namespace, "smol", "is ready", 300, watch)
    assert ("FetchingModel", False) in seen, seen
    assert ("FetchingModel", True) not in seen, "no Deployment, and so no GPU, before the model is there"
    model = get_llm(shared_namespace, "smol")["status"]["model"]
    assert (model["commit"], model["architecture"]) == (COMMIT, "LlamaForCausalLM")
    assert _children(shared_namespace, "smol", "jobs") == [], "the Job goes when its work is done"
    with forwarded(shared_namespace, "svc/smol", 8000) as port:
        assert "Paris" in ask(port, "smol", "What is the capital of France?")
    kubectl("-n", shared_namespace, "delete", "llm", "smol")


@pytest.mark.full
def test_a_tokenizer_has_a_source_of_its_own(shared_namespace: str, endpoint: str, models: Path) -> None:
    # What an earlier test fetched is there already; where this one runs alone it is fetched now.
    apply(hub_llm("whole", shared_namespace, endpoint, replicas=0))
    wait_for(shared_namespace, "whole", "is settled", 120, is_scaled_to_zero)
    kubectl("-n", shared_namespace, "delete", "llm", "whole")
    fetched = models / folder_name(REPOSITORY, COMMIT, None, endpoint)
    without, alone = models / "no-tokenizer", models / "tokenizer"
    for folder in (without, alone):
        folder.mkdir()
        folder.chmod(0o755)
    for path in fetched.iterdir():
        is_tokenizer = "token" in path.name or path.name in ("vocab.json", "merges.txt")
        (alone if is_tokenizer else without).joinpath(path.name).hardlink_to(path)
    model = {"persistentVolumeClaim": {"claimName": "models", "path": "no-tokenizer"}}
    apply(make_llm("split", shared_namespace, model=model))
    assert "no tokenizer in /weights/no-tokenizer that can be loaded" in wait_reason(
        shared_namespace, "split", "ModelNotServable"
    )
    own = {"persistentVolumeClaim": {"claimName": "models", "path": "tokenizer"}}
    apply(make_llm("split", shared_namespace, model={**model, "tokenizer": own}))
    wait_ready(shared_namespace, "split")
    with forwarded(shared_namespace, "svc/split", 8000) as port:
        assert "Paris" in ask(port, "split", "What is the capital of France?")
    kubectl("-n", shared_namespace, "delete", "llm", "split")
    before = downloads(shared_namespace, "model.safetensors")
    hub = {"huggingFace": {"repository": REPOSITORY, "endpoint": endpoint, "cache": CACHE}}
    apply(make_llm("borrowed", shared_namespace, model={**model, "tokenizer": hub}, replicas=0))
    wait_for(shared_namespace, "borrowed", "is settled", 60, is_scaled_to_zero)
    (folder,) = models.glob("*+tokenizer*")
    assert not list(folder.glob("*.safetensors"))
    assert downloads(shared_namespace, "model.safetensors") == before, "of a tokenizer no weights are fetched"
    kubectl("-n", shared_namespace, "delete", "llm", "borrowed")


def test_what_is_on_the_volume_is_not_fetched_again(shared_namespace: str, endpoint: str) -> None:
    before = downloads(shared_namespace, "model.safetensors")
    assert before == 1
    apply(hub_llm("again", shared_namespace, endpoint, replicas=0))
    wait_for(shared_namespace, "again", "is settled", 60, is_scaled_to_zero)
    apply(hub_llm("offline", shared_namespace, endpoint, replicas=0, offline=True))
    wait_for(shared_namespace, "offline", "is settled", 60, is_scaled_to_zero)
    assert downloads(shared_namespace, "model.safetensors") == before
    (offline,) = _children(shared_namespace, "offline", "configmaps")
    assert (
        json.loads(offline["data"]["model.json"])["model"]
        == f"/weights/{folder_name(REPOSITORY, COMMIT, None, endpoint)}"
    )


def test_a_volume_that_was_emptied_is_filled_again(shared_namespace: str, endpoint: str, models: Path) -> None:
    before = downloads(shared_namespace, "model.safetensors")
    shutil.rmtree(models / folder_name(REPOSITORY, COMMIT, None, endpoint))
    apply(hub_llm("again", shared_namespace, endpoint, replicas=1))
    message = wait_reason(shared_namespace, "again", "FetchingModel")
    assert "did not find the weights on their volume" in message or "were fetched again" in message
    wait_ready(shared_namespace, "again")
    assert downloads(shared_namespace, "model.safetensors") == before + 1
    assert _children(shared_namespace, "again", "jobs") == [], "the Job goes when its work is done"
    kubectl("-n", shared_namespace, "delete", "llm", "again")


@pytest.mark.full
def test_without_a_volume_each_pod_fetches_its_own(shared_namespace: str, endpoint: str) -> None:
    before = downloads(shared_namespace, "model.safetensors")
    apply(hub_llm("own", shared_namespace, endpoint, cache=None))
    wait_ready(shared_namespace, "own")
    assert downloads(shared_namespace, "model.safetensors") == before + 1
    (pod,) = pods_of(shared_namespace, "own")
    kubectl("-n", shared_namespace, "delete", "pod", pod["metadata"]["name"])
    wait_for(shared_namespace, "own", "has lost its pod", 30, lambda x: condition(x, "Ready")["status"] == "False")
    wait_ready(shared_namespace, "own")
    assert downloads(shared_namespace, "model.safetensors") == before + 2
    kubectl("-n", shared_namespace, "delete", "llm", "own")


def test_a_repository_that_is_not_there_is_named_and_tried_again_when_asked(
    shared_namespace: str, endpoint: str
) -> None:
    apply(hub_llm("lost", shared_namespace, endpoint, repository="acme/none"))
    message = wait_reason(shared_namespace, "lost", "ModelNotFound")
    assert (
        f"spec.model: {endpoint} has no repository acme/none that can be seen with no huggingFace.tokenSecretRef"
        in message
    )
    assert _children(shared_namespace, "lost", "deployments") == [], "no GPU waits for it"
    (job,) = _children(shared_namespace, "lost", "jobs")
    again = f"kubectl delete job {job['metadata']['name']}"
    wait_for(shared_namespace, "lost", "says how", 30, lambda x: again in condition(x, "Ready")["message"])
    kubectl("-n", shared_namespace, "delete", "job", job["metadata"]["name"])
    wait_until("the Job is there anew", 30, lambda: _is_new(shared_namespace, "lost", job["metadata"]["uid"]))
    kubectl("-n", shared_namespace, "delete", "llm", "lost")


def _is_new(namespace: str, name: str, uid: str) -> bool:
    jobs = _children(namespace, name, "jobs")
    return bool(jobs) and jobs[0]["metadata"]["uid"] != uid


def _children(namespace: str, name: str, kind: str) -> list[dict[str, Any]]:
    found = kubectl_json("-n", namespace, "get", kind, "-l", f"app.kubernetes.io/instance={name}")
    return list(found["items"])


def test_a_secret_that_is_not_there_is_named_and_the_job_is_kept_as_it_should_be(shared_namespace: str) -> None:
    apply(hub_llm("private", shared_namespace, None, tokenSecretRef={"name": "hf", "key": "token"}))
    assert 'secret "hf" not found' in wait_reason(shared_namespace, "private", "ContainerConfigInvalid")
    (job,) = _children(shared_namespace, "private", "jobs")
    name = job["metadata"]["name"]
    kubectl("-n", shared_namespace, "label", "job", name, "app.kubernetes.io/managed-by-")
    path = "jsonpath={.metadata.labels.app\\.kubernetes\\.io/managed-by}"
    wait_until(
        "the label is put back",
        10,
        lambda: kubectl("-n", shared_namespace, "get", "job", name, "-o", path) == "triton-vllm-operator",
    )
    kubectl("-n", shared_namespace, "delete", "llm", "private")


def test_a_token_goes_to_no_mirror_of_the_users_own(shared_namespace: str, endpoint: str) -> None:
    apply(hub_llm("leak", shared_namespace, endpoint, tokenSecretRef={"name": "hf", "key": "token"}))
    assert "no token be sent to" in wait_reason(shared_namespace, "leak", "ForbiddenByAdministrator")
    assert _children(shared_namespace, "leak", "jobs") == []
    kubectl("-n", shared_namespace, "delete", "llm", "leak")


def test_an_image_that_holds_no_model_is_named_before_an_engine_starts(shared_namespace: str) -> None:
    image = {"reference": MODEL_TOOLS.name, "pullPolicy": "Never", "path": "opt/app"}
    apply(make_llm("empty", shared_namespace, model={"image": image}))
    message = wait_reason(shared_namespace, "empty", "ModelNotServable")
    assert message.startswith("spec.model: no config.json in /weights/opt/app")
    kubectl("-n", shared_namespace, "delete", "llm", "empty")


def test_settings_that_the_model_contradicts_are_named(shared_namespace: str) -> None:
    apply(make_llm("long", shared_namespace, engine={**SMOLLM2["engine"], "maxModelLen": 1_000_000}))
    message = wait_reason(shared_namespace, "long", "ModelNotServable")
    assert "spec.engine.maxModelLen 1000000 is more than the" in message
    kubectl("-n", shared_namespace, "delete", "llm", "long")


@pytest.fixture(scope="module")
def adapters(shared_namespace: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A volume with adapters for SmolLM2."""
    folder = tmp_path_factory.mktemp("adapters")
    write_adapter(folder / "large", rank=32, seed=1)
    write_adapter(folder / "good", rank=8, seed=1)
    write_adapter(folder / "prefix", rank=8, seed=1, layers="model.language_model.layers")
    write_adapter(folder / "idle", rank=8, seed=1, strength=0.0)
    for path in (folder, *folder.parents[:2]):
        path.chmod(0o755)
    bind_folder(shared_namespace, "adapters", folder)
    return "adapters"


def adapted(claim: str, *names: str) -> dict[str, Any]:
    adapters = [{"name": name, "persistentVolumeClaim": {"claimName": claim, "path": name}} for name in names]
    return {**SMOLLM2["model"], "loraAdapters": adapters}


def test_an_adapter_of_too_large_a_rank_is_named(shared_namespace: str, adapters: str) -> None:
    apply(make_llm("ranked", shared_namespace, model=adapted(adapters, "large")))
    message = wait_reason(shared_namespace, "ranked", "ModelNotServable")
    assert message == (
        "spec.model.loraAdapters[large]: the adapter has rank 32, more than 16: write spec.engine.maxLoraRank: 32"
    )
    kubectl("-n", shared_namespace, "delete", "llm", "ranked")


def test_an_adapter_that_changes_nothing_is_refused_or_named(shared_namespace: str, adapters: str) -> None:
    apply(make_llm("lora", shared_namespace, model=adapted(adapters, "good", "prefix")))
    message = wait_reason(shared_namespace, "lora", "ModelNotServable")
    assert message.startswith("spec.model.loraAdapters[prefix]: the adapter changes model.language_model.layers.0.")
    assert "there it is called model.layers." in message
    # What names and shapes do not tell the engine's answers do.
    apply(make_llm("lora", shared_namespace, model=adapted(adapters, "good", "idle")))
    wait_ready(shared_namespace, "lora")
    said = condition(get_llm(shared_namespace, "lora"), "Ready")["message"]
    assert said == (
        "1 of 1 pods generate; but spec.model.loraAdapters[idle]: it answers exactly as the model does without it; "
        "was it trained on this model?"
    )
    kubectl("-n", shared_namespace, "delete", "llm", "lora")
