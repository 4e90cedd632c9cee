"""Models, drafts and adapters of a hub: from any spec to pods, each step settled."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from support.pods import make_pod
from support.simulate import CPU_SPEC, World, allowing
from triton_vllm_operator.kube.pod import Ended
from triton_vllm_operator.sources.report import ModelFacts, Report, SourceReport
from triton_vllm_operator.sources.task import Action, TaskList

COMMIT = "c" * 40
WORDS = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,8}[a-z0-9])?", fullmatch=True).filter(
    lambda word: ".." not in word and "--" not in word and not word.endswith(".git")
)
CACHES = st.sampled_from(
    [{"persistentVolumeClaim": {"claimName": "models"}}, {"emptyDir": {}}, {"emptyDir": {"sizeLimit": "10Gi"}}]
)
HUBS = st.fixed_dictionaries(
    {"repository": st.builds("{}/{}".format, WORDS, WORDS)},
    optional={
        "revision": st.sampled_from(["main", "refs/pr/1", "v1.0", "d" * 40]),
        "endpoint": st.sampled_from(["https://mirror.example.com", "http://10.0.0.1:8080/hub"]),
        "tokenSecretRef": st.just({"name": "hf", "key": "token"}),
        "cache": CACHES,
    },
)
SOURCES = st.fixed_dictionaries({"huggingFace": HUBS}) | st.just({"image": {"reference": "a/b:1"}})
MODELS = st.builds(
    lambda model, adapters: {**model, **({"loraAdapters": adapters} if adapters else {})},
    st.fixed_dictionaries({"huggingFace": HUBS}),
    st.lists(
        st.builds(lambda name, source: {"name": name, **source}, WORDS, SOURCES),
        max_size=3,
        unique_by=lambda a: a["name"],
    ),
)


def container_of(manifest: Any, kind: str) -> Any:
    return manifest["spec"]["template"]["spec"][kind][0]


@given(MODELS, st.integers(1, 512))
def test_every_step_settles_and_every_source_is_placed(model: dict[str, Any], rank: int) -> None:
    catalogue = allowing(token_endpoints=None)
    world = World(spec={**CPU_SPEC, "model": model}, catalogue=catalogue).settle()
    assert (world.decide().writes, world.decide().status) == ((), None)
    (job,) = world.of_kind("Job")
    assert len(job.name) <= 63
    tasks = TaskList.model_validate_json(container_of(job.body, "containers")["args"][0]).tasks
    facts = ModelFacts(lora_rank=rank)
    found = tuple(SourceReport(volume=task.volume, commit=COMMIT, facts=facts) for task in tasks)
    ended = Ended("Completed", 0, Report(sources=found).dump())
    pod = make_pod("", f"{job.name}-x", job_uid=job.uid, phase="Succeeded", running=False, ended=ended)
    world.changes["fetch_pods"] = (pod,)
    world.settle()
    world.changes.clear()
    decision = world.settle().decide()
    assert (decision.writes, decision.prunes, decision.status) == ((), (), None)
    assert world.of_kind("Job") == []
    check_places(world)


def check_places(world: World) -> None:
    """Where model.json looks, the pod has a mount; what it fetches, it may write to; the engine writes nowhere."""
    (config_map,), (deployment,) = world.of_kind("ConfigMap"), world.of_kind("Deployment")
    data: Any = config_map.body["data"]
    places = [json.loads(data["model.json"])["model"], *json.loads(data.get("multi_lora.json", "{}")).values()]
    serving, prepare = (container_of(deployment.body, kind) for kind in ("containers", "initContainers"))
    mounted = {mount["mountPath"]: mount.get("readOnly", False) for mount in serving["volumeMounts"]}
    for place in places:
        (path,) = (path for path in mounted if place == path or place.startswith(f"{path}/"))
        assert mounted[path], "the engine only reads"
    writable = {mount["mountPath"] for mount in prepare["volumeMounts"] if not mount.get("readOnly", False)}
    tasks = TaskList.model_validate_json(prepare["args"][0]).tasks
    assert writable == {"/tmp", *(task.folder for task in tasks if task.action is Action.FETCH)}
    assert sorted(task.folder for task in tasks if task.action is Action.CHECK) == sorted(
        place for place in places if not any(place.startswith(f"{path}/") for path in writable)
    )
