"""What kubectl tells of the cluster of its current context, and does there. This module does I/O.

kubectl holds the credentials and their plugins, and is on the PATH of whoever runs a plugin of it.
"""

import json
import re
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from typing import IO, Final

from triton_vllm_operator.api import names
from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.status import LLMDeploymentStatus
from triton_vllm_operator.api.stored_status import read_status
from triton_vllm_operator.cli.files import Unreadable
from triton_vllm_operator.kube.nodes import Node, project_node
from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.kube.pod_reading import project_pod
from triton_vllm_operator.kube.resources import as_dict, as_list, is_paused, metadata_of

_SECONDS: Final = 30
_MOST_COMPLAINTS: Final = 4096
_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
RESOURCE: Final = f"{names.PLURAL}.{names.GROUP}"
_LOGGED: Final = re.compile(r"[EFIW]\d{4} [\d:.]+ ")
"""https://github.com/kubernetes/klog"""


@dataclass(frozen=True, slots=True)
class Running:
    """An LLMDeployment of the cluster."""

    name: str
    namespace: str
    generation: int
    spec: Json
    status: LLMDeploymentStatus
    paused: bool = False

    @property
    def served_name(self) -> str:
        """The model's name in URLs."""
        return str(as_dict(self.spec.get("model")).get("servedName") or self.name)

    @property
    def selector(self) -> str:
        """Of its pods, as kubectl takes it."""
        return ",".join(f"{label}={value}" for label, value in names.child_labels(self.name).items())


@dataclass(frozen=True, slots=True)
class Placed:
    """A pod and the node that it is on; empty while it has none."""

    pod: Pod
    node: str


def read_nodes() -> tuple[Node, ...]:
    """The nodes of the cluster.

    Raises:
        Unreadable: kubectl is not there, or may not list them.
    """
    return tuple(project_node(body) for body in read_items("nodes"))


def read_running(name: str, namespace: str | None) -> Running:
    """An LLMDeployment of the cluster.

    Raises:
        Unreadable: kubectl is not there, or there is no such LLMDeployment.
    """
    if not names.is_name(name):
        raise Unreadable(f"{name!r} is no name of an LLMDeployment")
    within = ("--namespace", namespace) if namespace else ()
    found = ask("get", RESOURCE, name, *within)
    metadata = metadata_of(found)
    return Running(
        name,
        str(metadata.get("namespace", "")),
        int(str(metadata.get("generation", 0))),
        as_dict(found.get("spec")),
        read_status(found.get("status")),
        is_paused(found),
    )


def read_pods(running: Running) -> tuple[Placed, ...]:
    """Its pods, by name.

    Raises:
        Unreadable: kubectl is not there, or may not list them.
    """
    bodies = read_items("pods", "--namespace", running.namespace, "--selector", running.selector)
    placed = (Placed(project_pod(body), str(as_dict(body.get("spec")).get("nodeName", ""))) for body in bodies)
    return tuple(sorted(placed, key=lambda each: each.pod.name))


def read_items(resource: str, *options: str) -> tuple[Json, ...]:
    """All objects of a kind.

    Raises:
        Unreadable: kubectl is not there, may not list them, or knows no such kind.
    """
    return tuple(as_list(ask("get", resource, *options).get("items")))


def ask(*arguments: str) -> Json:
    """What kubectl prints as JSON.

    Raises:
        Unreadable: it is not there, failed, or printed something else.
    """
    try:
        found = json.loads(_run("kubectl", *arguments, "--output=json"))
    except ValueError as error:
        raise Unreadable(f"kubectl {' '.join(arguments[:2])} printed no JSON: {error}") from error
    if not isinstance(found, dict):
        raise Unreadable(f"kubectl {' '.join(arguments[:2])} printed no object")
    return found


def create_all(bodies: Sequence[Json]) -> tuple[Json, ...]:
    """Post objects, each of which is answered: reviews, of which nothing is kept.

    Raises:
        Unreadable: kubectl is not there, or may not.
    """
    given = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(bodies)})
    # It prints one after the other, and no list.
    text, found = _run("kubectl", "create", "--filename=-", "--output=json", given=given), list[Json]()
    while text := text.strip():
        try:
            body, end = json.JSONDecoder().raw_decode(text)
        except ValueError as error:
            raise Unreadable(f"kubectl printed no JSON: {error}") from error
        found.append(as_dict(body))
        text = text[end:]
    return tuple(found)


def run_in_pod(placed: Placed, namespace: str, code: str, given: str) -> str:
    """What a Python program prints in the serving container of a pod.

    Raises:
        Unreadable: kubectl is not there, or it failed.
    """
    where = ("--namespace", namespace, placed.pod.name, "--container", names.CONTAINER, "--stdin")
    return _run("kubectl", "exec", *where, "--", "python3", "-c", code, given=given, seconds=120)


def restart(running: Running) -> None:
    """Let Kubernetes replace all pods, one after the other.

    Raises:
        Unreadable: kubectl is not there, or may not change the Deployment.
    """
    _run("kubectl", "rollout", "restart", f"deployment/{running.name}", "--namespace", running.namespace)


def write_spec(running: Running, spec: Json) -> None:
    """Put another spec in the place of the one that was read.

    Raises:
        Unreadable: kubectl is not there, may not write it, or somebody has written another one meanwhile.
    """
    unedited = {"op": "test", "path": "/metadata/generation", "value": running.generation}
    patch = json.dumps([unedited, {"op": "replace", "path": "/spec", "value": spec}])
    _run(
        "kubectl", "patch", RESOURCE, running.name, "--namespace", running.namespace, "--type=json", f"--patch={patch}"
    )


@contextmanager
def post(placed: Placed, namespace: str, path: str, body: Json) -> Iterator[Iterator[str]]:
    """The lines of a pod's answer to a POST, as they come, through the API server.

    Not through its proxy (kubectl create --raw): that keeps answers back, and what an error says.

    Raises:
        Unreadable: kubectl is not there, may not reach the pod, or the connection broke off.
    """
    with _forwarded(placed, namespace, names.PORT_HTTP) as port:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with _open(placed, request) as answer:
            yield _lines_of(placed, answer)


def _open(placed: Placed, request: urllib.request.Request) -> AbstractContextManager[IO[bytes]]:
    """The answer to a request, or the body of an error."""
    try:
        # No proxy of the environment: it is this machine.
        answer: AbstractContextManager[IO[bytes]] = _OPENER.open(request)
    except urllib.error.HTTPError as error:
        return error
    except (OSError, HTTPException) as error:
        raise Unreadable(f"pod {placed.pod.name}: {error}") from error
    return answer


def _lines_of(placed: Placed, answer: IO[bytes]) -> Iterator[str]:
    try:
        for line in answer:
            yield line.decode(errors="replace")
    except (OSError, HTTPException) as error:
        raise Unreadable(f"the answer of pod {placed.pod.name} broke off: {error}") from error


@contextmanager
def _forwarded(placed: Placed, namespace: str, port: int) -> Iterator[int]:
    """A port of this machine that leads to one of a pod."""
    command = ("kubectl", "port-forward", f"pod/{placed.pod.name}", f":{port}", "--address=127.0.0.1")
    with _piped(*command, "--namespace", namespace) as piped:
        line = piped.lines.readline()
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        if found is None:
            piped.end()
            raise Unreadable(f"kubectl port-forward: {line.strip()}")
        yield int(found[1])


@contextmanager
def logs(running: Running, *options: str) -> Iterator[Iterator[str]]:
    """The lines of the logs of all pods, each with the name of its pod.

    Raises:
        Unreadable: kubectl is not there, or may not read them.
    """
    where = ("--namespace", running.namespace, "--selector", running.selector, "--container", names.CONTAINER)
    with _piped("kubectl", "logs", *where, "--prefix", "--max-log-requests=50", "--ignore-errors", *options) as piped:
        yield (line.rstrip("\n") for line in piped.lines)
        piped.end()


@dataclass(frozen=True, slots=True)
class _Piped:
    """A kubectl that goes on."""

    process: "subprocess.Popen[str]"
    lines: IO[str]
    """What it prints."""
    complaints: IO[str]
    """A file: nobody reads a pipe meanwhile, and a full one would hold it up."""

    def end(self) -> None:
        """Wait until it has ended.

        Raises:
            Unreadable: not well.
        """
        if self.process.wait() != 0:
            self.complaints.seek(0)
            raise Unreadable(f"kubectl: {_last_words(self.complaints.read(_MOST_COMPLAINTS))}")


@contextmanager
def _piped(*command: str) -> Iterator[_Piped]:
    pipe = subprocess.PIPE
    with tempfile.TemporaryFile(mode="w+", errors="replace") as complaints:
        try:
            process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=complaints, text=True, errors="replace", bufsize=1
            )
        except FileNotFoundError as error:
            raise Unreadable("kubectl is not on the PATH") from error
        assert process.stdout is not None
        try:
            yield _Piped(process, process.stdout, complaints)
        finally:
            # It may still be under way: whoever asked has had enough.
            process.terminate()
            process.wait()


def _run(*command: str, given: str | None = None, seconds: float = _SECONDS) -> str:
    asked = " ".join(command[:3])
    try:
        return subprocess.run(command, input=given, capture_output=True, text=True, timeout=seconds, check=True).stdout
    except FileNotFoundError as error:
        raise Unreadable("kubectl is not on the PATH") from error
    except subprocess.TimeoutExpired as error:
        raise Unreadable(f"{asked} did not answer within {seconds} s") from error
    except subprocess.CalledProcessError as error:
        raise Unreadable(f"{asked}: {_last_words(error.stderr)}") from error


def _last_words(said: str) -> str:
    """What kubectl says in the end, without what its libraries log before."""
    lines = [line for line in said.splitlines() if not _LOGGED.match(line)]
    return " ".join(" ".join(lines or said.splitlines()[-1:]).split())
