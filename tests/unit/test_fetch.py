"""Fetching from a hub on this machine that speaks the real one's API."""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from cluster.paths import REPOSITORY
from support.checkpoints import LLAMA, make_draft, make_tensors
from support.hub import Hub as LocalHub
from support.hub import commit_of
from support.weights import write_adapter, write_model, write_safetensors, write_tensors
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.sources import __main__ as program_entry
from triton_vllm_operator.sources.fault import SourceFault, TryAgain
from triton_vllm_operator.sources.hub import Hub
from triton_vllm_operator.sources.placement import folder_name
from triton_vllm_operator.sources.program import run
from triton_vllm_operator.sources.progress import Say
from triton_vllm_operator.sources.report import SourceReport, parse_report
from triton_vllm_operator.sources.store import Store
from triton_vllm_operator.sources.task import Action, Expectation, Repository, Role, Task, TaskList

NAME = "acme/tiny"
COMMIT = commit_of(NAME)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    with LocalHub({NAME: write_model(tmp_path / "hub", size=3_000_000)}) as server:
        yield server


def task_of(hub: LocalHub, folder: Path, action: Action) -> Task:
    return Task(
        field="spec.model",
        volume="weights",
        action=action,
        folder=str(folder),
        repository=Repository(name=NAME, revision="main", endpoint=hub.endpoint),
        expectation=Expectation(role=Role.MODEL),
    )


class Fetch:
    """A run of the program, with pauses that are noted and not slept."""

    def __init__(self, hub: LocalHub, cache: Path) -> None:
        self.hub = hub
        self.cache = cache
        self.pauses: list[float] = []
        self.said: list[str] = []

    def __call__(
        self,
        action: Action = Action.FETCH,
        revision: str = "main",
        role: Role = Role.MODEL,
        size_limit: int | None = None,
        **changes: object,
    ) -> SourceReport:
        wanted = {"name": NAME, "revision": revision, "endpoint": self.hub.endpoint, **changes}
        task = Task(
            field="spec.model",
            volume="weights",
            action=action,
            folder=str(self.cache),
            repository=Repository(**wanted),  # type: ignore[arg-type]
            size_limit=size_limit,
            expectation=Expectation(role=role),
        )
        return run(TaskList(tasks=(task,)), self.said.append, self._open).sources[0]

    def _open(self, repository: Repository, say: Say) -> Hub:
        return Hub(repository, say, self.pauses.append)

    @property
    def folder(self) -> Path:
        return self.cache / folder_name(NAME, COMMIT, None, self.hub.endpoint)


@pytest.fixture
def fetch(hub: LocalHub, tmp_path: Path) -> Fetch:
    return Fetch(hub, tmp_path / "cache")


def downloads(hub: LocalHub) -> list[str]:
    return [request for request in hub.seen if request.startswith("GET /store/")]


def test_a_model_comes_whole_under_the_name_of_its_commit(hub: LocalHub, fetch: Fetch) -> None:
    report = fetch()
    assert (report.commit, report.facts and report.facts.architecture) == (COMMIT, "LlamaForCausalLM")
    source = hub.folders[NAME]
    assert {path.name for path in fetch.folder.iterdir()} == {path.name for path in source.iterdir()}
    assert all((fetch.folder / path.name).read_bytes() == path.read_bytes() for path in source.iterdir())
    assert any("of 2.9 MiB" in line for line in fetch.said), fetch.said


def test_what_is_there_is_not_fetched_again(hub: LocalHub, fetch: Fetch) -> None:
    fetch()
    hub.seen.clear()
    fetch()
    assert downloads(hub) == []
    hub.seen.clear()
    assert fetch(revision=COMMIT).commit == COMMIT
    assert not hub.seen, "a full commit that is there needs no hub"


def test_a_volume_that_is_filled_again_knows_the_branch_too(fetch: Fetch) -> None:
    fetch(revision=COMMIT, asked="main")
    assert fetch(offline=True).commit == COMMIT
    other = "b" * 40
    (reference,) = (path for path in fetch.cache.rglob("refs/*/main") if path.is_file())
    reference.write_text(other)
    shutil.rmtree(fetch.folder)
    fetch(revision=COMMIT, asked="main")
    assert reference.read_text() == other, "somebody else has looked at the branch since"


def test_offline_takes_the_cache_and_asks_nobody(hub: LocalHub, fetch: Fetch) -> None:
    with pytest.raises(SourceFault, match="the cache holds no acme/tiny@main"):
        fetch(offline=True)
    fetch()
    hub.seen.clear()
    assert fetch(offline=True).commit == COMMIT
    assert not hub.seen


@pytest.fixture
def large(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> LocalHub:
    """A hub whose model is larger than what the library writes at once (10 MiB)."""
    write_model(hub.folders[NAME], size=25_000_000)
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    return hub


def test_a_cut_connection_is_gone_on_with(large: LocalHub, fetch: Fetch) -> None:
    hub = large
    hub.faults.cut = 2
    fetch()
    ranges = [request for request in hub.seen if "bytes=" in request]
    assert ranges, "the rest was asked for, not the whole"
    assert (fetch.folder / "model.safetensors").read_bytes() == (hub.folders[NAME] / "model.safetensors").read_bytes()


def test_a_fetch_that_was_killed_keeps_the_files_that_are_whole(
    hub: LocalHub, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    write_safetensors(hub.folders[NAME] / "second.safetensors")
    hub.faults.cut_file = "second.safetensors"
    with pytest.raises(TryAgain, match="cannot be used"):
        fetch()
    assert not fetch.folder.exists(), "half a model never has the name of a whole one"
    (unfinished,) = fetch.cache.rglob("download")
    (unfinished / "killed.incomplete").write_bytes(b"what a killed pod left")
    hub.faults.cut_file = ""
    hub.seen.clear()
    fetch()
    assert downloads(hub) == [f"GET /store/{NAME}/second.safetensors"]
    assert not list(fetch.cache.rglob("*.incomplete"))


def test_429_is_waited_out_as_long_as_the_hub_says(hub: LocalHub, fetch: Fetch) -> None:
    hub.faults.busy, hub.faults.retry_after = 1, "40"
    assert fetch().commit == COMMIT
    assert 40 <= fetch.pauses[0] <= 41
    assert any("it answers 429 Too Many Requests; next try in 4" in line for line in fetch.said)


@pytest.mark.parametrize("page", ["/resolve/", "/store/"])
def test_429_during_a_download_is_waited_out(
    hub: LocalHub, fetch: Fetch, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    hub.faults.busy_page, hub.faults.busy, hub.faults.retry_after = page, 4, "7"
    assert fetch().commit == COMMIT
    assert any(seconds >= 7 for seconds in (*slept, *fetch.pauses)), (slept, fetch.pauses)


def test_an_address_that_ran_out_is_asked_for_anew(
    hub: LocalHub, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    hub.faults.expired = 2
    assert fetch().commit == COMMIT


def test_patience_has_an_end(hub: LocalHub, fetch: Fetch) -> None:
    hub.faults.broken = 1_000
    with pytest.raises(TryAgain, match="it answers 503 Service Unavailable"):
        fetch()
    assert len(fetch.pauses) == 7
    assert all(2**place / 2 <= pause <= 2**place for place, pause in enumerate(fetch.pauses))


def test_a_hub_that_is_not_there_is_named(hub: LocalHub, fetch: Fetch) -> None:
    with pytest.raises(TryAgain, match=r"http://127\.0\.0\.1:9 cannot be used: ConnectError"):
        fetch(endpoint="http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("wanted", "reason", "said"),
    [
        ({"name": "acme/none"}, Reason.MODEL_NOT_FOUND, "has no repository acme/none that can be seen with no"),
        ({"revision": "v9"}, Reason.MODEL_NOT_FOUND, "acme/tiny has no revision 'v9'"),
    ],
)
def test_what_is_not_there_is_named_at_once(fetch: Fetch, wanted: dict[str, str], reason: Reason, said: str) -> None:
    with pytest.raises(SourceFault) as caught:
        fetch(**wanted)  # type: ignore[arg-type]
    assert caught.value.reason is reason
    assert said in str(caught.value)
    assert fetch.pauses == []


def test_a_gated_model_says_what_to_do(hub: LocalHub, fetch: Fetch) -> None:
    hub.faults.gated.add(NAME)
    with pytest.raises(SourceFault, match="wants its terms accepted") as caught:
        fetch()
    assert caught.value.reason is Reason.MODEL_ACCESS_DENIED
    with pytest.raises(SourceFault, match="wants its terms accepted"):
        fetch(Action.INSPECT)


def test_a_private_model_needs_its_token_which_is_said_nowhere(
    hub: LocalHub, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.faults.tokens[NAME] = "hf_secret"
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with pytest.raises(SourceFault, match=r"with no huggingFace.tokenSecretRef"):
        fetch()
    assert hub.tokens_seen == set(), "no token of the environment is used"
    monkeypatch.setenv("TOKEN_WEIGHTS", "hf_wrong")
    with pytest.raises(SourceFault, match=r"the token of huggingFace.tokenSecretRef") as caught:
        fetch(token_variable="TOKEN_WEIGHTS")
    assert "hf_wrong" not in str(caught.value)
    monkeypatch.setenv("TOKEN_WEIGHTS", "hf_secret\n")
    assert fetch(token_variable="TOKEN_WEIGHTS").commit == COMMIT
    assert not any("hf_" in line for line in fetch.said)


def test_an_inspection_fetches_no_weights(hub: LocalHub, fetch: Fetch) -> None:
    report = fetch(Action.INSPECT)
    assert (report.commit, report.facts and report.facts.attention_heads) == (COMMIT, 4)
    assert [line.rpartition(" ")[2] for line in downloads(hub)] == ["bytes=0-262143"]
    assert not fetch.cache.exists()


@pytest.mark.parametrize("serves_ranges", [True, False])
def test_an_inspection_tells_the_shape_by_the_beginnings_of_weights(
    hub: LocalHub, fetch: Fetch, serves_ranges: bool
) -> None:
    config = {**LLAMA, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "vocab_size": 2048}
    folder = write_model(hub.folders[NAME], **{**config, "num_attention_heads": 4, "num_key_value_heads": 2})
    tensors = make_tensors(json.loads((folder / "config.json").read_text()))
    write_tensors(folder / "model.safetensors", {name: tensor.shape for name, tensor in tensors.items()}, "BF16")
    hub.serves_ranges = serves_ranges
    facts = fetch(Action.INSPECT).facts
    assert facts is not None
    assert facts.shape is not None
    assert (facts.shape.vocabulary, facts.shape.pattern, facts.shapeless) == (2048, "2a", None)


def test_an_inspection_tells_what_sees_by_the_files_of_the_processor(hub: LocalHub, fetch: Fetch) -> None:
    vision = {"model_type": "qwen2_5_vl", "depth": 1, "hidden_size": 64, "intermediate_size": 128, "patch_size": 14}
    vision |= {"spatial_merge_size": 2, "temporal_patch_size": 2}
    small = {**LLAMA, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 1, "vocab_size": 2048}
    named = {"architectures": ["Qwen2_5_VLForConditionalGeneration"], "vision_config": vision}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    folder = write_model(hub.folders[NAME], **{**small, **heads, **named})
    (folder / "preprocessor_config.json").write_text(json.dumps({"max_pixels": 784 * 1000}))
    tensors = make_tensors(json.loads((folder / "config.json").read_text()))
    write_tensors(folder / "model.safetensors", {name: tensor.shape for name, tensor in tensors.items()}, "BF16")
    for action in (Action.INSPECT, Action.FETCH):
        facts = fetch(action).facts
        assert facts is not None
        assert facts.shape is not None
        assert facts.shape.vision is not None
        assert facts.shape.vision.image_tokens == 1000


def test_an_inspection_tells_the_shape_of_a_draft_model(hub: LocalHub, fetch: Fetch) -> None:
    small = {**LLAMA, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 1, "vocab_size": 2048}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "architectures": ["LlamaForCausalLMEagle3"]}
    folder = write_model(hub.folders[NAME], **{**small, **heads, "draft_vocab_size": 512})
    tensors = make_draft(json.loads((folder / "config.json").read_text()), has_copies=True)
    named = {name: tensor.shape for name, tensor in tensors.items() if name != "t2d"}
    write_tensors(folder / "model.safetensors", named, "BF16")
    for action in (Action.INSPECT, Action.FETCH):
        facts = fetch(action, role=Role.DRAFT).facts
        assert facts is not None
        assert facts.draft is not None
        assert (facts.shape, facts.draft.head, facts.draft.further_states) == (None, 512, 3)


def test_a_hub_that_gives_no_beginnings_leaves_the_shape_unknown(
    hub: LocalHub, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hub, "read_start", lambda *_: b"")
    facts = fetch(Action.INSPECT).facts
    assert facts is not None
    assert (facts.attention_heads, facts.shape) == (4, None)
    assert "could not be read" in (facts.shapeless or "")


def test_what_is_no_model_is_said_before_its_weights_come(hub: LocalHub, fetch: Fetch) -> None:
    (hub.folders[NAME] / "tokenizer.json").unlink()
    with pytest.raises(SourceFault, match="no tokenizer in acme/tiny"):
        fetch()
    assert downloads(hub) == []


def test_what_a_mirror_served_is_not_taken_for_what_the_hub_serves(hub: LocalHub, fetch: Fetch, tmp_path: Path) -> None:
    with LocalHub({NAME: write_model(tmp_path / "evil", architectures=["EvilForCausalLM"])}) as mirror:
        facts = Fetch(mirror, fetch.cache)(revision=COMMIT).facts
    assert facts is not None
    assert facts.architecture == "EvilForCausalLM"
    facts = fetch(revision=COMMIT).facts
    assert facts is not None
    assert facts.architecture == "LlamaForCausalLM"


def test_what_came_spoilt_is_fetched_anew_when_the_hub_is_mended(hub: LocalHub, fetch: Fetch) -> None:
    good = (hub.folders[NAME] / "model.safetensors").read_bytes()
    (hub.folders[NAME] / "model.safetensors").write_bytes(b"<html>" + bytes(len(good) - 6))
    with pytest.raises(SourceFault, match="is no safetensors file"):
        fetch()
    (hub.folders[NAME] / "model.safetensors").write_bytes(good)
    assert fetch().commit == COMMIT


def test_a_volume_without_locks_is_used_without(hub: LocalHub, fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(Store, "_acquire", no_locks)
    assert fetch().commit == COMMIT
    assert any("this volume has no locks" in line for line in fetch.said)


def test_an_adapter_is_fetched_too(hub: LocalHub, fetch: Fetch, tmp_path: Path) -> None:
    hub.folders["acme/sql"] = write_adapter(tmp_path / "adapter")
    facts = fetch(role=Role.ADAPTER, name="acme/sql").facts
    assert facts is not None
    assert facts.lora_rank == 8
    (folder,) = fetch.cache.glob("acme--sql@*")
    assert (folder / "adapter_model.safetensors").is_file()


def test_two_that_share_a_cache_fetch_once_and_both_have_it_whole(hub: LocalHub, tmp_path: Path) -> None:
    cache, failures = tmp_path / "cache", []

    def work() -> None:
        try:
            assert Fetch(hub, cache)().commit == COMMIT
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert hub.seen[f"GET /store/{NAME}/model.safetensors"] == 1


def test_a_lock_that_the_file_system_ignores_costs_traffic_and_nothing_else(
    hub: LocalHub, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Fetch(hub, fetch.cache)
    real = Hub.fetch

    def fetch_while_another_is_faster(self: Hub, *arguments: object) -> None:
        monkeypatch.setattr(Hub, "fetch", real)
        monkeypatch.setattr(FileLock, "acquire", lambda *_args, **_kwargs: None)
        other()
        real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Hub, "fetch", fetch_while_another_is_faster)
    assert fetch().commit == COMMIT
    assert (fetch.folder / "model.safetensors").read_bytes() == (hub.folders[NAME] / "model.safetensors").read_bytes()


def test_another_that_is_faster_between_two_files_is_no_fault(
    hub: LocalHub, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, real = Fetch(hub, fetch.cache), Hub.fetch
    calls: list[int] = []

    def overtaken(self: Hub, *arguments: object) -> None:
        real(self, *arguments)  # type: ignore[arg-type]
        calls.append(1)
        if len(calls) == 2:
            # The weights are there, and before they are checked the other's folder gets its name.
            monkeypatch.setattr(FileLock, "acquire", lambda *_args, **_kwargs: None)
            other()

    monkeypatch.setattr(Hub, "fetch", overtaken)
    assert fetch().commit == COMMIT


def test_a_model_that_is_larger_than_the_pods_folder_is_named_beforehand(hub: LocalHub, fetch: Fetch) -> None:
    with pytest.raises(SourceFault, match=r"more than the 0\.0 GiB of huggingFace\.cache\.emptyDir\.sizeLimit"):
        fetch(Action.INSPECT, size_limit=1_000)


def test_a_hub_that_names_no_commit_is_refused(hub: LocalHub, fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("support.hub.commit_of", lambda *_: "../../etc")
    with pytest.raises(SourceFault, match="names no commit"):
        fetch()


def test_a_volume_that_cannot_be_written_to_is_named(
    hub: LocalHub, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(fetch.cache))

    monkeypatch.setattr(Hub, "fetch", refuse)
    with pytest.raises(SourceFault, match=r"the volume cannot be used by user .*Read-only file system") as caught:
        fetch()
    assert caught.value.reason is Reason.MODEL_FETCH_FAILED
    assert fetch.pauses == []


def test_the_program_ends_at_once_when_it_is_told_to(hub: LocalHub, tmp_path: Path) -> None:
    hub.faults.broken = 1_000
    task = task_of(hub, tmp_path, Action.FETCH)
    command = [sys.executable, "-m", "triton_vllm_operator.sources", TaskList(tasks=(task,)).model_dump_json()]
    paths = {**os.environ, "PYTHONPATH": "operator"}
    with subprocess.Popen(command, cwd=REPOSITORY, env=paths, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert "503" in program.stdout.readline(), "it waits for its next try"
        program.terminate()
        assert program.wait(timeout=5) == 143


def test_a_full_volume_is_named_before_anything_comes(
    fetch: Fetch, monkeypatch: pytest.MonkeyPatch, hub: LocalHub
) -> None:
    full = SimpleNamespace(total=10, used=10, free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: full)
    with pytest.raises(SourceFault, match=r"the volume has 0\.0 GiB free") as caught:
        fetch()
    assert caught.value.reason is Reason.MODEL_FETCH_FAILED
    assert downloads(hub) == []


def test_the_program_reports_in_the_termination_message(hub: LocalHub, tmp_path: Path, capsys: object) -> None:
    task = task_of(hub, Path("/nowhere"), Action.INSPECT)
    message = tmp_path / "message"
    assert program_entry.main([TaskList(tasks=(task,)).model_dump_json()], message) == 0
    report = parse_report(message.read_text())
    assert report is not None
    assert report.sources[0].commit == COMMIT
    hub.folders.clear()
    assert program_entry.main([TaskList(tasks=(task,)).model_dump_json()], message) == 3
    report = parse_report(message.read_text())
    assert report is not None
    assert report.fault is not None
    assert report.fault.reason is Reason.MODEL_NOT_FOUND
