"""Fetching through a proxy that alone knows the hub, and from a hub that a private authority vouches for.

The real program runs as a process of its own, in the environment that the rendered containers have.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster.paths import REPOSITORY
from cluster.pki import Authority
from support.hub import Hub, commit_of
from support.proxy import Proxy
from support.simulate import CATALOGUE, World
from support.weights import write_model
from triton_vllm_operator.api import names
from triton_vllm_operator.api.platform import Pods, Policy
from triton_vllm_operator.api.spec import LLMDeploymentSpec
from triton_vllm_operator.manifests.sources import find_places
from triton_vllm_operator.sources.task import TaskList

NAME, HOST, STORE = "acme/tiny", "hub.corp.test", "store.corp.test"
HOSTS = {HOST: "127.0.0.1", STORE: "127.0.0.1"}


def fetch_container(hub: dict[str, Any], pods: Pods) -> dict[str, Any]:
    """The container of the Job that fetches a model, where the administrator has decided so."""
    source = {"huggingFace": {"repository": NAME, "cache": {"persistentVolumeClaim": {"claimName": "m"}}, **hub}}
    catalogue = CATALOGUE.model_copy(update={"policy": Policy(pods=pods)})
    world = World(spec={**World().spec, "model": source}, catalogue=catalogue).settle()
    (job,) = world.of_kind("Job")
    container: dict[str, Any] = job.body["spec"]["template"]["spec"]["containers"][0]  # type: ignore[index, call-overload]
    return container


def run_program(container: dict[str, Any], folder: Path, given: dict[str, str] | None = None) -> tuple[int, str]:
    """Exit code and output of the program, with the weights in `folder`; `given` is what the kubelet would fill in."""
    tasks = TaskList.model_validate_json(container["args"][0].replace("$$", "$"))
    moved = TaskList(tasks=tuple(task.model_copy(update={"folder": str(folder)}) for task in tasks.tasks))
    plain = {variable["name"]: variable["value"] for variable in container["env"] if "value" in variable}
    # As images/model-tools sets it.
    image = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY / "operator"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment = {**image, **plain, **(given or {})}
    script = (
        "import sys, pathlib; from triton_vllm_operator.sources.__main__ import main; "
        "from triton_vllm_operator.sources import hub; hub._TRIES = 1; "
        f"sys.exit(main([sys.argv[1]], pathlib.Path({str(folder / 'report')!r})))"
    )
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", script, moved.model_dump_json(by_alias=True, exclude_none=True)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_hub_that_only_the_proxy_knows_is_reached_through_it(tmp_path: Path, scheme: str) -> None:
    authority = Authority(tmp_path / "pki")
    pair = authority.issue("hub", HOST, hosts=(HOST, STORE))
    certificate = (pair.certificate, pair.key) if scheme == "https" else None
    model = write_model(tmp_path / "model", size=50_000)
    with Hub({NAME: model}, store=STORE, certificate=certificate) as hub, Proxy(HOSTS) as proxy:
        endpoint = {"endpoint": f"{scheme}://{HOST}:{hub.port}"}
        bundle = authority.pair.certificate.read_text() if certificate else ""
        direct = fetch_container(endpoint, Pods(ca_bundle=bundle))
        code, said = run_program(direct, tmp_path / "direct")
        assert code == 1
        assert "the administrator sets it in the chart's fetch.proxy" in said
        through = Pods.model_validate({"proxy": {"http": proxy.url, "https": proxy.url}, "caBundle": bundle})
        code, said = run_program(fetch_container(endpoint, through), tmp_path / "through")
        assert code == 0, said
        assert len(list((tmp_path / "through").glob("*/model.safetensors"))) == 1
        verb = "CONNECT" if certificate else "GET"
        assert {line.split(" ")[0] for line in proxy.seen} >= {verb}
        outside = Pods.model_validate({"proxy": {"http": proxy.url, "https": proxy.url, "noProxy": HOST}})
        proxy.seen.clear()
        assert run_program(fetch_container(endpoint, outside), tmp_path / "outside")[0] != 0
        assert proxy.seen == [], "a host of noProxy is asked directly"


def test_a_private_authority_is_trusted_where_it_is_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    pair = authority.issue("hub", "localhost", hosts=("localhost", "127.0.0.1"))
    bundle = authority.pair.certificate.read_text()
    certificate = (pair.certificate, pair.key)
    with Hub({NAME: write_model(tmp_path / "model", size=50_000)}, certificate=certificate) as hub:
        plain = {"endpoint": hub.endpoint}
        code, said = run_program(fetch_container(plain, Pods()), tmp_path / "none")
        assert code == 3
        assert "is not trusted" in said
        assert "huggingFace.caConfigMapRef" in said
        assert run_program(fetch_container(plain, Pods(ca_bundle=bundle)), tmp_path / "chart")[0] == 0
        named = fetch_container({**plain, "caConfigMapRef": {"name": "ca", "key": "ca.crt"}}, Pods())
        assert run_program(named, tmp_path / "named", {"CA_WEIGHTS": bundle})[0] == 0
        code, said = run_program(named, tmp_path / "spoilt", {"CA_WEIGHTS": "no certificate"})
        assert code == 3
        assert "huggingFace.caConfigMapRef holds no certificates in PEM form" in said


def test_the_authority_of_one_repository_is_not_that_of_the_next(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    pair = authority.issue("hub", "localhost", hosts=("localhost", "127.0.0.1"))
    with Hub({NAME: write_model(tmp_path / "model", size=50_000)}, certificate=(pair.certificate, pair.key)) as hub:
        one = fetch_container({"endpoint": hub.endpoint, "caConfigMapRef": {"name": "ca", "key": "ca.crt"}}, Pods())
        (task,) = TaskList.model_validate_json(one["args"][0]).tasks
        assert task.repository is not None
        other = task.repository.model_copy(update={"ca_variable": None})
        second = task.model_copy(update={"field": "spec.model.loraAdapters[b]", "repository": other})
        both = TaskList(tasks=(task, second))
        container = {**one, "args": [both.model_dump_json(by_alias=True, exclude_none=True)]}
        given = {"CA_WEIGHTS": authority.pair.certificate.read_text()}
        code, said = run_program(container, tmp_path / "both", given)
        assert code == 3
        assert "spec.model.loraAdapters[b]: the certificate of" in said


def test_of_a_tokenizer_source_the_tokenizer_alone_comes_where_the_engine_looks(tmp_path: Path) -> None:
    with Hub({NAME: write_model(tmp_path / "model", size=50_000)}) as hub:
        cache = {"persistentVolumeClaim": {"claimName": "m"}}
        source = {"huggingFace": {"repository": NAME, "endpoint": hub.endpoint, "cache": cache}}
        model = {"image": {"reference": "registry/model:1"}, "tokenizer": source}
        world = World(spec={**World().spec, "model": model}).settle()
        (job,) = world.of_kind("Job")
        container = job.body["spec"]["template"]["spec"]["containers"][0]  # type: ignore[index, call-overload]
        code, said = run_program(container, tmp_path / "tokenizer")
        assert code == 0, said
        commit = commit_of(NAME)
        expected = find_places(LLMDeploymentSpec.model_validate(world.spec), {names.TOKENIZER_VOLUME: commit}).tokenizer
        (folder,) = (tmp_path / "tokenizer").glob("acme--*")
        assert f"/tokenizer/{folder.name}" == expected
        assert {path.name for path in folder.iterdir()} == {"config.json", "tokenizer.json"}


def test_a_missing_config_map_is_the_kubelets_to_name(tmp_path: Path) -> None:
    container = fetch_container({"endpoint": "https://a.b", "caConfigMapRef": {"name": "ca", "key": "ca.crt"}}, Pods())
    variable = next(variable for variable in container["env"] if variable["name"] == "CA_WEIGHTS")
    assert variable["valueFrom"] == {"configMapKeyRef": {"name": "ca", "key": "ca.crt"}}
