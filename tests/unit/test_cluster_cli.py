"""kubectl-llm where it asks a cluster, against a kubectl that answers from files."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.paths import REPOSITORY
from support.kubectl import Cluster, llm_body
from support.pods import make_pod, make_serving
from support.simulate import NOW, World
from triton_vllm_operator.api.status import LLMDeploymentStatus
from triton_vllm_operator.api.timeline import Step, StepName, Timeline
from triton_vllm_operator.cli.__main__ import main
from triton_vllm_operator.cli.cluster import Placed, Running
from triton_vllm_operator.cli.doctor import CrdSeen, Facts, Level, Operator, find_findings, finding_lines, minor_version
from triton_vllm_operator.cli.doctor_facts import RIGHTS
from triton_vllm_operator.cli.engine_logs import engine_line
from triton_vllm_operator.cli.prompting import build_request, read_piece
from triton_vllm_operator.cli.status_view import age, status_lines
from triton_vllm_operator.cli.terminal import printable
from triton_vllm_operator.kube.nodes import Node


def pod(serves: bool, name: str = "llama-1") -> dict[str, Any]:
    since = {"lastTransitionTime": (NOW - timedelta(minutes=5)).isoformat()}
    kinds = {"Ready": serves, "triton-vllm.dev/generates": serves}
    conditions = [
        {"type": kind, "status": str(holds), **since, "message": "containerd://1: x"} for kind, holds in kinds.items()
    ]
    status = {"phase": "Running", "conditions": conditions, "containerStatuses": []}
    return {"metadata": {"name": name}, "spec": {"nodeName": "gpu-1"}, "status": status}


def serving_world() -> World:
    world = World().settle()
    world.pods = (make_serving(world.revision),)
    return world.settle()


def steps() -> Timeline:
    done = Step(name=StepName.FETCHED, seconds=41, total_bytes=16_000_000_000, bytes_per_second=390_000_000)
    return Timeline(generation=3, pod="llama-1", steps=(done, Step(name=StepName.LOADED, seconds=61)))


def test_status_says_all_that_is_known(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.answer("get-llmdep", llm_body(serving_world().status.model_copy(update={"timeline": steps()})))
    cluster.answer("get-pods", {"items": [pod(serves=True)]})
    assert main(["status", "llama", "-n", "models"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("llama in models: ready: 1 of 1 pods generate\n")
    assert re.search(r"Degraded +False +NothingFailed", said)
    assert "timeline of generation 3, pod llama-1\n  fetched           41 s  14.90 GiB at 390 MB/s\n" in said
    assert "llama-1 on gpu-1: generates, proven" in said
    (asked, _), (pods, _) = cluster.asked
    assert asked[-3:] == ["--namespace", "models", "--output=json"]
    assert any(word.startswith("app.kubernetes.io/name=triton-vllm,app.kubernetes.io/instance=llama") for word in pods)


def test_status_of_one_that_is_not_ready_says_why_first(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.answer("get-llmdep", llm_body(World().settle().status, generation=2))
    cluster.answer("get-pods", {"items": []})
    assert main(["status", "llama"]) == 1
    said = capsys.readouterr().out
    assert said.startswith(
        "llama in models: not ready, CreatingPods (of the spec before the last edit): 0 of 1 pods exist\n"
    )
    assert said.endswith("pods\n  none\n")


def test_ready_is_not_that_of_the_spec_before_the_last_edit(
    cluster: Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = serving_world().status
    answers = [
        llm_body(ready, generation=2),
        llm_body(ready.model_copy(update={"observed_generation": 2}), generation=2),
    ]

    def pause(_: float) -> None:
        cluster.answer("get-llmdep", answers.pop(0))

    monkeypatch.setattr("triton_vllm_operator.cli.online.sleep", pause)
    cluster.answer("get-pods", {"items": []})
    pause(0)
    assert main(["status", "llama"]) == 1
    assert "ready (of the spec before the last edit)" in capsys.readouterr().out
    assert main(["status", "llama", "-w"]) == 0
    assert answers == []


def test_status_of_one_that_no_operator_has_seen(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.answer("get-llmdep", llm_body(LLMDeploymentStatus()))
    cluster.answer("get-pods", {"items": []})
    assert main(["status", "llama"]) == 1
    assert "kubectl llm doctor" in capsys.readouterr().out


def test_in_a_pipe_what_is_watched_is_told_in_lines(
    cluster: Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [World().settle().status, World().settle().status, serving_world().status]

    def pause(_: float) -> None:
        cluster.answer("get-llmdep", llm_body(answers.pop(0)))

    monkeypatch.setattr("triton_vllm_operator.cli.online.sleep", pause)
    cluster.answer("get-pods", {"items": []})
    pause(0)
    assert main(["status", "llama", "-w"]) == 0
    said = capsys.readouterr().out
    assert said.count("not ready, CreatingPods") == 1
    assert "\nllama in models: ready" in said


@pytest.mark.parametrize("command", [["status", "llama", "-w"], ["rollout", "status", "llama"]])
def test_what_is_paused_is_not_waited_for(
    cluster: Cluster, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    world = serving_world().edit(engine={"maxNumSeqs": 5})
    world.changes["resource"] = replace(world.observe().resource, paused=True)
    body = llm_body(world.settle().status, generation=world.generation)
    body["metadata"]["annotations"] = {"triton-vllm.dev/paused": "true"}
    cluster.answer("get-llmdep", body)
    cluster.answer("get-pods", {"items": []})
    assert main(command) == 1
    assert capsys.readouterr().out.count("changes are paused") >= 1


def test_what_is_not_there_is_said_in_one_line(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "llama"]) == 2
    assert capsys.readouterr().err == (
        "kubectl-llm: kubectl get llmdeployments.triton-vllm.dev: Error from server (NotFound): not found\n"
    )


def test_without_kubectl_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for command in (["status", "x"], ["doctor"], ["logs", "x"], ["generate", "x", "y"], ["restart", "x"]):
        assert main(command) == 2
        assert "kubectl is not on the PATH" in capsys.readouterr().err


@dataclass
class Server:
    """A model's server at 127.0.0.1, and what it was asked."""

    status: int = 200
    answer: str = ""
    missing: int = 0
    """Bytes that are told of and never come."""
    asked: list[tuple[str, Any]] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[int]:
        given = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                given.asked.append((self.path, json.loads(body)))
                self.send_response(given.status)
                if given.missing:
                    self.send_header("Content-Length", str(len(given.answer) + given.missing))
                self.end_headers()
                self.wfile.write(given.answer.encode())

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        with HTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            yield server.server_port
            server.shutdown()
            thread.join()


@pytest.fixture
def server(cluster: Cluster) -> Iterator[Server]:
    made = Server()
    with made.running() as port:
        cluster.answer("port-forward", f"Forwarding from 127.0.0.1:{port} -> 8000\n")
        yield made


FRAMES = (
    'data: {"text_output":" a","finish_reason":"None"}\n\ndata: {"text_output":" story","finish_reason":"length"}\n\n'
)


def test_generate_prints_an_answer_as_it_comes(
    cluster: Cluster, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.answer("get-llmdep", llm_body(serving_world().status, model={"servedName": "llama2-7b-chat-v1.0"}))
    cluster.answer("get-pods", {"items": [pod(serves=False, name="a"), pod(serves=True)]})
    server.answer = FRAMES
    assert main(["generate", "llama", "Tell", "--temperature", "0", "--max-tokens", "8"]) == 0
    assert capsys.readouterr().out == " a story\n"
    assert server.asked == [("/v2/models/llama2-7b-chat-v1.0/generate_stream", build_request("Tell", 8, 0.0, None))]
    # A pod that serves, and not the first.
    assert cluster.asked[-1][0][1] == "pod/llama-1"


@pytest.mark.parametrize("cut", [0, 40])
def test_an_answer_that_breaks_off_is_no_answer(
    cluster: Cluster, server: Server, capsys: pytest.CaptureFixture[str], cut: int
) -> None:
    """A pod that dies half-way, and one whose connection ends before all has come that was told."""
    cluster.answer("get-llmdep", llm_body(serving_world().status))
    cluster.answer("get-pods", {"items": [pod(serves=True)]})
    server.answer, server.missing = FRAMES.split("\n\n")[0] + "\n\n", cut
    assert main(["generate", "llama", "Tell"]) != 0
    assert "broke off" in capsys.readouterr().err


def test_whoever_reads_no_further_has_had_enough(
    cluster: Cluster, server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_: object, **__: object) -> None:
        raise BrokenPipeError

    cluster.answer("get-llmdep", llm_body(serving_world().status))
    cluster.answer("get-pods", {"items": [pod(serves=True)]})
    server.answer = FRAMES
    monkeypatch.setattr("builtins.print", closed)
    assert main(["generate", "llama", "Tell"]) == 0
    assert capsys.readouterr().err == ""


def test_what_would_move_a_cursor_is_left_out(
    cluster: Cluster, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.answer("get-llmdep", llm_body(serving_world().status))
    cluster.answer("get-pods", {"items": [pod(serves=True)]})
    said = json.dumps({"text_output": "\x1b]0;owned\x07a\nb\tc", "finish_reason": "stop"})
    server.answer = f"data: {said}\n\n"
    assert main(["generate", "llama", "Tell"]) == 0
    assert capsys.readouterr().out == "]0;owneda\nb\tc\n"


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, 'data: {"text_output":" a"}\n\ndata: {"error":"no such adapter"}\n'),
        (400, '{"error":"no such adapter"}'),
    ],
)
def test_generate_says_what_the_engine_says_against_it(
    cluster: Cluster, server: Server, capsys: pytest.CaptureFixture[str], status: int, answer: str
) -> None:
    cluster.answer("get-llmdep", llm_body(serving_world().status))
    cluster.answer("get-pods", {"items": [pod(serves=True)]})
    server.status, server.answer = status, answer
    assert main(["generate", "llama", "Tell", "--adapter", "sql"]) == 1
    assert "kubectl-llm: no such adapter" in capsys.readouterr().err


def test_where_no_pod_generates_it_is_said_why(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.answer("get-llmdep", llm_body(World().settle().status))
    cluster.answer("get-pods", {"items": [pod(serves=False)]})
    assert main(["generate", "llama", "Tell"]) == 1
    assert "no pod generates; llama in models: not ready, CreatingPods" in capsys.readouterr().err


def test_a_chat_is_rendered_by_the_models_own_template(cluster: Cluster, server: Server) -> None:
    cluster.answer("get-llmdep", llm_body(serving_world().status))
    cluster.answer("get-pods", {"items": [pod(serves=True)]})
    cluster.answer("exec", json.dumps({"prompt": "<|user|>Tell<|assistant|>"}))
    server.answer = FRAMES
    assert main(["generate", "llama", "Tell", "--chat"]) == 0
    ((_, given),) = server.asked
    assert given["text_input"] == "<|user|>Tell<|assistant|>"


def test_a_model_without_a_chat_template_is_said(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.answer("get-llmdep", llm_body(serving_world().status))
    cluster.answer("get-pods", {"items": [pod(serves=True)]})
    cluster.answer("exec", json.dumps({"error": "the model has no chat template: ask without --chat"}))
    assert main(["generate", "llama", "Tell", "--chat"]) == 2
    assert capsys.readouterr().err == "kubectl-llm: llama: the model has no chat template: ask without --chat\n"


@pytest.mark.parametrize(
    "text", ["日本\u3000語", "25\u202f% 20\u00a0€", "\u0645\u06cc\u200c\u062e\u0648", "👩\u200d💻", "a\tb\nc"]
)
def test_what_joins_or_parts_words_is_printed(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize("text", ["\x1b", "\x07", "\x9b", "\u202e", "\u2066", "\r", "\ud800"])
def test_what_would_act_on_a_terminal_is_not(text: str) -> None:
    assert printable(f"a{text}b") == "ab"


def test_a_name_is_no_option_of_kubectl(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--", "--all-namespaces"]) == 2
    assert "is no name of an LLMDeployment" in capsys.readouterr().err


def test_a_pod_that_cannot_be_reached_is_said(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.answer("get-llmdep", llm_body(serving_world().status))
    cluster.answer("get-pods", {"items": [pod(serves=True)]})
    assert main(["generate", "llama", "Tell"]) == 2
    assert "kubectl: Error from server (NotFound): not found" in capsys.readouterr().err


LOG = """[pod/llama-1/triton] I0131 08:30:00.000000 1 server.cc:674] "started"
[pod/llama-1/triton] +-------+---------+
[pod/llama-1/triton] | Model | Version |
[pod/llama-1/triton]
[pod/llama-1/triton] INFO 01-31 08:30:00 [core.py:58] Initializing a V1 LLM engine
[pod/llama-2/triton] (EngineCore pid=7) ERROR 01-31 08:30:01 [core.py:590] EngineCore failed
"""


def test_logs_are_those_of_the_engines(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.answer("get-llmdep", llm_body(serving_world().status))
    cluster.answer("logs", LOG)
    assert main(["logs", "llama", "--tail", "9"]) == 0
    assert capsys.readouterr().out == (
        "llama-1: INFO 01-31 08:30:00 [core.py:58] Initializing a V1 LLM engine\n"
        "llama-2: (EngineCore pid=7) ERROR 01-31 08:30:01 [core.py:590] EngineCore failed\n"
    )
    assert main(["logs", "llama", "--all"]) == 0
    assert capsys.readouterr().out == LOG


def test_a_pod_without_a_log_hides_none_of_the_others(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    """While a pod fetches its image kubectl itself would end at it, whatever the others say."""
    waiting = 'error: container "triton" in pod "llama-3" is waiting to start: PodInitializing\n'
    cluster.answer("get-llmdep", llm_body(serving_world().status))
    cluster.answer("logs", waiting + LOG)
    assert main(["logs", "llama"]) == 0
    assert capsys.readouterr().out.startswith(waiting + "llama-1: INFO")
    assert "--ignore-errors" in cluster.asked[-1][0]
    cluster.answer("logs", waiting)
    assert main(["logs", "llama"]) == 2
    assert "no pod of llama has said anything" in capsys.readouterr().err


def test_a_restart_is_that_of_the_deployment(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.answer("get-llmdep", llm_body(serving_world().status))
    cluster.answer("rollout-restart", "restarted")
    assert main(["restart", "llama"]) == 0
    assert "its pods are replaced, one after the other" in capsys.readouterr().out
    assert cluster.asked[-1][0] == ["rollout", "restart", "deployment/llama", "--namespace", "models"]


@pytest.mark.parametrize(
    ("line", "text", "error"),
    [
        ("", "", ""),
        ('data: {"text_output":" a"}', " a", ""),
        ('{"error":"gone"}', "", "gone"),
        ("data: {broken", "", "the model's answer is no JSON: {broken"),
        ('data: {"finish_reason":"stop"}', "", ""),
    ],
)
def test_frames(line: str, text: str, error: str) -> None:
    assert (read_piece(line).text, read_piece(line).error) == (text, error)


def test_what_triton_says_without_a_gpu_is_no_word_of_the_engine() -> None:
    assert engine_line("[pod/llama-1/triton] Error: Failed to initialize NVML") is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"scheduled_at": None}, "has not generated yet, and has no node"),
        ({"running": False}, "has not generated yet, waits for its images and volumes for 60s"),
        ({"started_at": NOW + timedelta(seconds=20)}, "has not generated yet, loads for 40s"),
        ({"containers_ready_at": NOW + timedelta(seconds=50)}, "has not generated yet, its server is up for 10s"),
        (
            {"running": False, "prepares": True, "prepare_began": NOW},
            "has not generated yet, fetches or checks its weights for 60s",
        ),
    ],
)
def test_a_pod_that_starts_says_how_far_it_is(changes: dict[str, Any], told: str) -> None:
    world = serving_world()
    running = Running("llama", "ns", 1, {}, world.status)
    placed = Placed(make_pod(world.revision, **changes), "n1")
    assert f"  llama-1 on n1: {told}" in status_lines(running, (placed,), NOW + timedelta(seconds=60))


def test_without_a_command_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "say what the cluster lacks" in capsys.readouterr().err


def test_lines_without_a_prefix_are_shown_too() -> None:
    assert engine_line("Traceback (most recent call last):") == "Traceback (most recent call last):"


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0s"), (119, "119s"), (120, "2m"), (7200, "2h"), (200_000, "2d")])
def test_ages_are_those_of_kubectl(seconds: int, shown: str) -> None:
    assert age(NOW, NOW + timedelta(seconds=seconds)) == shown


OPERATOR = Operator("system", "op", "op", "image:1", 1, 1)
GPU_NODE = Node("gpu-1", {"nvidia.com/gpu.product": "H100"}, (), {"nvidia.com/gpu": 8, "cpu": 64})
GOOD = Facts("v1.36.3", CrdSeen.OURS, (OPERATOR,), (GPU_NODE,), "fast", frozenset(), (), {"list pods": True})


def levels(facts: Facts) -> dict[str, Level]:
    return {finding.what: finding.level for finding in find_findings(facts)}


def test_a_cluster_that_lacks_nothing() -> None:
    assert set(levels(GOOD).values()) == {Level.OK}
    assert not [line for line in finding_lines(find_findings(GOOD)) if "->" in line]


@pytest.mark.parametrize(
    ("change", "what", "level"),
    [
        ({"version": "v1.29.4"}, "Kubernetes", Level.MISSING),
        ({"version": "v1.31.0-eks-1"}, "image volumes", Level.NOTE),
        ({"crd": CrdSeen.ABSENT}, "CRD", Level.MISSING),
        ({"crd": CrdSeen.HIDDEN}, "CRD", Level.UNKNOWN),
        ({"crd": CrdSeen.OTHER}, "CRD", Level.NOTE),
        ({"operators": ()}, "operator", Level.MISSING),
        ({"operators": None}, "operator", Level.UNKNOWN),
        ({"operators": (Operator("s", "o", "o", "i", 0, 1),)}, "operator", Level.MISSING),
        ({"rights": {}}, "operator's rights", Level.UNKNOWN),
        ({"rights": {"list pods": True, "delete pods": False}}, "operator's rights", Level.MISSING),
        ({"nodes": None}, "GPUs", Level.UNKNOWN),
        ({"nodes": (Node("n", {}, (), {"cpu": 4}),)}, "GPUs", Level.NOTE),
        ({"nodes": (), "sliced_nodes": frozenset({"n"})}, "GPUs", Level.MISSING),
        ({"nodes": (Node("n", {}, (), {"nvidia.com/gpu": 1}),)}, "GPU labels", Level.NOTE),
        ({"default_storage": ""}, "storage", Level.NOTE),
        ({"default_storage": None}, "storage", Level.UNKNOWN),
    ],
)
def test_what_a_cluster_lacks_is_said_with_a_remedy(change: dict[str, Any], what: str, level: Level) -> None:
    facts = Facts(**{**{name: getattr(GOOD, name) for name in Facts.__slots__}, **change})
    assert levels(facts)[what] is level
    findings = [finding for finding in find_findings(facts) if finding.level in (Level.MISSING, Level.NOTE)]
    assert all(finding.do for finding in findings)


def deployment(**environment: str) -> dict[str, Any]:
    given = [{"name": f"TRITON_VLLM_OPERATOR_{name}", "value": value} for name, value in environment.items()]
    pod = {"serviceAccountName": "op", "containers": [{"image": "image:1", "env": given}]}
    metadata = {"name": "op", "namespace": "system"}
    return {"metadata": metadata, "spec": {"replicas": 1, "template": {"spec": pod}}, "status": {"readyReplicas": 1}}


@pytest.mark.parametrize(
    ("environment", "where", "also"),
    [
        ({"NAMESPACES": ""}, {None}, {"nodes", "resourceslices"}),
        ({"NAMESPACES": "team-a,team-b"}, {"team-a", "team-b"}, set()),
        ({"NAMESPACES": "", "LEASE": "system/op"}, {None, "system"}, {"nodes", "resourceslices", "leases"}),
    ],
)
def test_rights_are_asked_for_where_the_operator_needs_them(
    cluster: Cluster,
    capsys: pytest.CaptureFixture[str],
    environment: dict[str, str],
    where: set[str | None],
    also: set[str],
) -> None:
    cluster.answer("version", {"serverVersion": {"gitVersion": "v1.36.3"}})
    cluster.answer("get-deployments", {"items": [deployment(**environment)]})
    cluster.answer("create", "")
    main(["doctor"])
    given = next(given for words, given in cluster.asked if words[0] == "create")
    reviews = [item["spec"] for item in json.loads(given)["items"]]
    asked = [review["resourceAttributes"] for review in reviews]
    assert {review["user"] for review in reviews} == {"system:serviceaccount:system:op"}
    assert {each.get("namespace") for each in asked} == where
    assert {each["resource"] for each in asked} - {name.split("/")[0] for _, name, _ in RIGHTS} == also
    capsys.readouterr()
    # All that is asked for is given.
    cluster.answer("create", "\n".join(json.dumps({"status": {"allowed": True}}) for _ in asked))
    main(["doctor"])
    assert f"ok       operator's rights  all {len(asked)}" in capsys.readouterr().out


def test_rights_are_those_that_the_chart_grants() -> None:
    text = (REPOSITORY / "charts/triton-vllm-operator/templates/_helpers.tpl").read_text()
    rules = yaml.safe_load(text.split('define "operator.rules" -}}')[1].split("{{- end -}}")[0])
    granted = {
        (group, name, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for name in rule["resources"]
        for verb in rule["verbs"]
    }
    assert granted == {(group, name, verb) for group, name, verbs in RIGHTS for verb in verbs.split()}


@pytest.mark.parametrize(("version", "minor"), [("v1.36.3", 36), ("v1.30.1-gke.4", 30), ("1.35+", 35), ("?", 0)])
def test_versions_of_kubernetes(version: str, minor: int) -> None:
    assert minor_version(version) == minor
