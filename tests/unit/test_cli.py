"""kubectl-llm, as a user runs it: files in, text and an exit code out."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.paths import REPOSITORY
from support.simulate import World
from triton_vllm_operator.cli.__main__ import main
from triton_vllm_operator.cli.kubernetes_yaml import read_documents

LLAMA = REPOSITORY / "samples" / "llama2-7b-chat.yaml"


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """A maker of files: the sample with some fields of its spec replaced."""

    def make(name: str = "new.yaml", **spec: Any) -> str:
        document = yaml.safe_load(LLAMA.read_text())
        document["spec"] |= spec
        (tmp_path / name).write_text(yaml.safe_dump(document))
        return str(tmp_path / name)

    return make


def test_render_prints_what_the_operator_would_apply(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(model={"image": {"reference": "registry/model:1"}})
    assert main(["render", "-f", file, "-o", "yaml"]) == 0
    rendered = list(yaml.safe_load_all(capsys.readouterr().out))
    applied = World(spec=yaml.safe_load(Path(file).read_text())["spec"]).decide().manifests
    assert [m["kind"] for m in rendered] == [m["kind"] for m in applied]
    (ours,) = (m for m in rendered if m["kind"] == "ConfigMap")
    (theirs,) = (m for m in applied if m["kind"] == "ConfigMap")
    assert ours["data"] == theirs["data"]


def test_render_shows_the_job_that_fetches_and_what_follows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "-f", str(LLAMA), "-o", "yaml"]) == 0
    rendered = list(yaml.safe_load_all(capsys.readouterr().out))
    assert [m["kind"] for m in rendered] == [
        *("Job", "Service", "ConfigMap", "Deployment", "ControllerRevision"),
        "PodDisruptionBudget",
    ]


def test_render_shows_the_repository_and_stays_yaml(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "-f", str(LLAMA)]) == 0
    text = capsys.readouterr().out
    assert "# /models/llama2-7b-chat-v1.0/1/model.json:\n#   {\n" in text
    assert '#     "gpu_memory_utilization": 0.9,' in text
    assert len(list(yaml.safe_load_all(text))) == 6


def test_render_as_json_is_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "-f", str(LLAMA), "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "List"


def test_explain_shows_settings_with_the_versions_own_defaults(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for version, default in (("26.05", "0.9 "), ("26.08", "0.92 ")):
        assert main(["explain", "-f", write(runtime={"version": version}, engine={})]) == 0
        assert f"gpu_memory_utilization  {default}" in capsys.readouterr().out


def test_explain_says_what_a_change_does(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    new = write(replicas=3, engine={"maxModelLen": 8192})
    assert main(["explain", "-f", new, "--against", str(LLAMA)]) == 0
    out = capsys.readouterr().out
    assert "changes: every pod is replaced, as spec.rollout says" in out
    assert "  Rolling  spec.engine.maxModelLen           4096 -> 8192" in out
    assert "  Rolling  spec.engine.gpuMemoryUtilization  0.9 -> unset" in out
    assert "  None     spec.replicas                     2 -> 3" in out


@pytest.mark.parametrize(
    ("spec", "effect"),
    [({"replicas": 3}, "nothing restarts"), ({}, "none")],
)
def test_explain_says_when_nothing_restarts(
    write: Any, capsys: pytest.CaptureFixture[str], spec: dict[str, Any], effect: str
) -> None:
    assert main(["explain", "-f", write(**spec), "--against", str(LLAMA)]) == 0
    assert f"changes: {effect}" in capsys.readouterr().out


def test_a_changed_served_name_is_refused(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    new = write(model={"servedName": "other", "image": {"reference": "registry.example.com/models/llama2-7b-chat:1"}})
    assert main(["explain", "-f", new, "--against", str(LLAMA), "-o", "json"]) == 1
    explained = json.loads(capsys.readouterr().out)
    assert (explained["accepted"], explained["effect"]) == (False, "Refused")
    assert explained["message"].startswith("spec.model.servedName cannot be changed")


WARNED = [
    ({"engine": {"extraArgs": {"override_generation_config": {"temperature": 0.1}}}}, "sets no defaults for sampling"),
    ({"engine": {"kvCacheMemoryBytes": "8Gi", "gpuMemoryUtilization": 0.9}}, "kvCacheMemoryBytes sets the KV cache"),
    ({"engine": {}}, "spec.engine.maxModelLen is not set"),
    ({"engine": {"trustRemoteCode": True}}, "allow.trustRemoteCode"),
    ({"engine": {"enforceEager": True}}, "spec.engine.enforceEager"),
    ({"engine": {"tensorParallelSize": 2}, "runtime": {"version": "26.01"}}, "issue 8651"),
    ({"engine": {"schedulingPolicy": "priority"}}, "no request behind Triton has a priority of its own"),
    (
        {"runtime": {"version": "26.08", "backend": "NVIDIA"}, "model": {"huggingFace": {"repository": "a/b"}}},
        "can move",
    ),
    ({"model": {"huggingFace": {"repository": "a/b"}}}, "every new pod fetches the weights again"),
    (
        {
            "model": {
                "huggingFace": {
                    "repository": "a/b",
                    "endpoint": "http://mirror",
                    "tokenSecretRef": {"name": "hf", "key": "token"},
                }
            }
        },
        "allow.tokenEndpoints names http://mirror",
    ),
    ({"runtime": {"image": "mine:1", "vllmVersion": "0.27.1"}}, "allow.customImages"),
    (
        {
            "model": {"persistentVolumeClaim": {"claimName": "models"}},
            "cache": {"persistentVolumeClaim": {"claimName": "models"}},
        },
        "give it a claim of its own",
    ),
    ({"replicas": 2, "rollout": {"waitForIdleSeconds": 9}}, "with several replicas others answer"),
    ({"replicas": 1, "rollout": {"waitForIdleSeconds": 9}}, "NVIDIA's backend"),
]


@pytest.mark.parametrize(("spec", "words"), WARNED, ids=[words for _, words in WARNED])
def test_explain_warns(write: Any, capsys: pytest.CaptureFixture[str], spec: dict[str, Any], words: str) -> None:
    assert main(["explain", "-f", write(**spec), "-o", "yaml"]) == 0
    warnings = yaml.safe_load(capsys.readouterr().out)["warnings"]
    assert any(words in warning for warning in warnings)
    assert main(["explain", "-f", str(LLAMA), "-o", "yaml"]) == 0
    assert not any(words in warning for warning in yaml.safe_load(capsys.readouterr().out)["warnings"])


def test_labels_of_the_llm_deployment_are_not_those_of_its_pods(tmp_path: Path, capsys: Any) -> None:
    document = yaml.safe_load(LLAMA.read_text())
    document["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "team-a", "app.kubernetes.io/part-of": "x"}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(document))
    assert main(["explain", "-f", str(tmp_path / "x.yaml"), "-o", "yaml"]) == 0
    (said,) = (w for w in yaml.safe_load(capsys.readouterr().out)["warnings"] if w.startswith("metadata: "))
    assert said.startswith("metadata: kueue.x-k8s.io/queue-name stay on the LLMDeployment")


def test_all_faults_are_listed_one_a_line(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    bad = write(engine={"extraArgs": {"swap_space": 4, "task": "generate", "api_key": "x"}})
    assert main(["explain", "-f", bad]) == 1
    first, *faults = capsys.readouterr().out.splitlines()
    assert first == "llama2-7b-chat: refused, 3 faults"
    assert [line.split()[0] for line in faults] == ["ArgumentForbidden", "ArgumentForbidden", "ArgumentInvalid"]
    assert main(["explain", "-f", bad, "-o", "json"]) == 1
    assert len(json.loads(capsys.readouterr().out)["faults"]) == 3


def test_what_nests_as_deep_as_kubectl_reads_it_gets_a_verdict(tmp_path: Path, capsys: Any) -> None:
    document = yaml.safe_load(LLAMA.read_text())
    text = yaml.safe_dump(document) + "# \n"
    deep = text.replace("engine:", "engine:\n    extraArgs: {hf_overrides: {a: " + "[" * 1500 + "]" * 1500 + "}}", 1)
    (tmp_path / "x.yaml").write_text(deep)
    assert main(["explain", "-f", str(tmp_path / "x.yaml")]) == 1
    assert "it nests deeper than 100 levels" in capsys.readouterr().out
    (tmp_path / "y.yaml").write_text("[" * 100_000)
    assert main(["explain", "-f", str(tmp_path / "y.yaml")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("scalar", "read"),
    [
        *(("1e3", 1000), ("0x1F", 31), ("0777", 511), ("yes", True), ("n", False), ("~", None), ("4.0", 4)),
        *(("1:30", "1:30"), ("2026-11-25", "2026-11-25"), ("0.27.1", "0.27.1"), ("1_000", 1000), ("_1", "_1")),
        *(("'1'", "1"), ("!!str 1", "1"), ("26.08", 26.08), ("1e400", "1e400")),
    ],
)
def test_scalars_are_read_as_kubectl_reads_them(scalar: str, read: object) -> None:
    (found,) = read_documents(f"v: {scalar}")
    assert found == {"v": read}
    assert type(found["v"]) is type(read)


def test_json_is_read_as_json() -> None:
    (read,) = read_documents('{\n\t"a": "\\ud83d\\ude00",\t"b": 1e3, "c": null}')
    assert read == {"a": "\U0001f600", "b": 1000, "c": None}
    assert read_documents("{a: 1}") == [{"a": 1}]


def test_what_only_an_administrator_allows_is_warned_of(write: Any, capsys: Any) -> None:
    assert main(["explain", "-f", write(serviceAccountName="bot", env=[{"name": "FOO", "value": "1"}])]) == 0
    said = capsys.readouterr().out
    assert "allow.serviceAccounts names bot" in said
    assert "spec.env FOO: refused unless the chart's allow.unknownEnvironment is true" in said


def test_a_key_that_stands_twice_is_unreadable(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "x.yaml").write_text(LLAMA.read_text() + "\nkind: LLMDeployment\n")
    assert main(["explain", "-f", str(tmp_path / "x.yaml")]) == 2
    assert "key 'kind' stands twice" in capsys.readouterr().err


def test_a_refused_one_says_why_and_exits_with_1(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    bad = write(engine={"extraArgs": {"swap_space": 4}})
    assert main(["explain", "-f", bad]) == 1
    assert "refused (ArgumentInvalid): spec.engine.extraArgs.swap_space" in capsys.readouterr().out
    assert main(["render", "-f", bad]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "swap_space was removed in vLLM 0.18.0" in captured.err


def test_a_name_that_the_api_server_refuses_is_refused_here(tmp_path: Path, capsys: Any) -> None:
    document = yaml.safe_load(LLAMA.read_text())
    document["metadata"]["name"] = "llama2.7b"
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(document))
    assert main(["explain", "-f", str(tmp_path / "x.yaml")]) == 1
    assert "spec.model.servedName; found 'llama2.7b'" in capsys.readouterr().out


HEAD = "kind: LLMDeployment\napiVersion: triton-vllm.dev/v1alpha1"
REPEATED = "\n".join(
    ["a: &a [l, l, l, l, l, l, l, l, l]"]
    + [f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]" for before, name in zip("abcdef", "bcdefg", strict=True)]
)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ("labels: 5", "metadata.labels takes an object, found 5"),
        ("labels: {a: 1}", "metadata.labels.a takes a text, found 1: write it in quotes"),
        ("label: {}", "there is no field metadata.label: did you mean metadata.labels?"),
        ("namespace: Team_A", "metadata.namespace has a-z, 0-9 and"),
        ("labels: {a b: c}", "metadata.labels: a key has letters, digits"),
        ("labels: {a: b c}", "metadata.labels.a: a value of a label has at most 63"),
        ("finalizers: [x y]", "metadata.finalizers: a key has"),
    ],
)
def test_faults_of_metadata_are_listed_with_the_others(tmp_path: Path, capsys: Any, metadata: str, words: str) -> None:
    text = f"{HEAD}\nmetadata: {{name: Web_1, {metadata}}}\nspec: {{}}"
    (tmp_path / "x.yaml").write_text(text)
    assert main(["explain", "-f", str(tmp_path / "x.yaml")]) == 1
    said = capsys.readouterr().out
    assert all(part in said for part in (words, "metadata.name must be", "spec.model")), said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "cannot be read"),
        ("a: &a {b: [*a]}", "the anchor in line 1 holds itself"),
        (REPEATED, "excessive aliasing"),
        ("kind: Service", "must hold one LLMDeployment; found Service"),
        ("", "found nothing"),
        ("kind: LLMDeployment\napiVersion: v1", "apiVersion must be triton-vllm.dev/v1alpha1"),
        (f"{HEAD}\nspec: {{}}", "metadata.name is missing"),
        (f"{HEAD}\nspec: {{}}\nmetadata: {{name: 1}}", "metadata.name is no text: write it in quotes"),
        (f"{HEAD}\nmetadata: {{name: web}}\nspec: hello", 'spec takes an object, found "hello"'),
        (f"{HEAD}\nmetadata: {{name: web}}\nspec: {{}}\nengine: {{}}", "no field engine beside spec"),
        ("a: !!timestamp 2026-01-01", "has no meaning in JSON"),
        ("a: !!float .nan", "is no number of JSON"),
        ('{"a": 1, "a": 2}', "key 'a' stands twice"),
        ('{"a": NaN}', "NaN is no number of JSON"),
        ('a: "\\ud83d"', "half a character"),
    ],
)
def test_an_unreadable_file_exits_with_2(tmp_path: Path, capsys: Any, text: str, words: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    assert main(["explain", "-f", str(tmp_path / "x.yaml")]) == 2
    assert words in capsys.readouterr().err
    assert main(["explain", "-f", str(tmp_path / "missing.yaml")]) == 2


def test_an_old_one_that_is_invalid_compares_with_nothing(write: Any, capsys: Any) -> None:
    assert main(["explain", "-f", str(LLAMA), "--against", write(replicas=-1)]) == 2
    assert "the LLMDeployment to compare with is invalid: spec.replicas" in capsys.readouterr().err
