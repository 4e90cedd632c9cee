"""Rendering: total, deterministic, and settled after one step, for any spec that the CRD admits."""

import json
from typing import Any

import tritonclient.grpc.model_config_pb2 as triton
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from support.simulate import World
from triton_vllm_operator.api.quantity import parse_quantity
from triton_vllm_operator.reconcile.drift import differs
from triton_vllm_operator.repository.content import CONFIG_PBTXT

NAMES = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True)
QUANTITIES = st.sampled_from(["1", "500m", "2Gi", "1e3", "0.5", "10Mi", 4])
ENGINE = st.fixed_dictionaries(
    {},
    optional={
        "gpuMemoryUtilization": st.floats(min_value=0.01, max_value=1),
        "kvCacheMemoryBytes": st.sampled_from(["20Gi", "1e9", "1000000"]),
        "maxModelLen": st.integers(1, 10**4) | st.just("Auto"),
        "maxNumSeqs": st.integers(1, 10**4),
        "maxNumBatchedTokens": st.integers(10**4, 10**8),
        "schedulingPolicy": st.sampled_from(["fcfs", "priority"]),
        "tensorParallelSize": st.integers(1, 8),
        "pipelineParallelSize": st.integers(1, 2),
        "dtype": st.sampled_from(["auto", "bfloat16", "float16"]),
        "quantization": st.sampled_from(["fp8", "awq"]),
        "kvCacheDtype": st.sampled_from(["auto", "fp8"]),
        "enforceEager": st.booleans(),
        "enablePrefixCaching": st.booleans(),
        "enableChunkedPrefill": st.booleans(),
        "trustRemoteCode": st.booleans(),
        "extraArgs": st.fixed_dictionaries(
            {}, optional={"seed": st.integers(0, 9), "disable_cascade_attn": st.booleans(), "hf_overrides": st.just({})}
        ),
    },
)
TOLERATIONS = st.fixed_dictionaries(
    {"key": st.sampled_from(["nvidia.com/gpu", "spot"]), "operator": st.just("Exists")},
    optional={"effect": st.sampled_from(["NoSchedule", "NoExecute"])},
)
SPECS = st.fixed_dictionaries(
    {
        "model": st.fixed_dictionaries(
            {"image": st.fixed_dictionaries({"reference": st.sampled_from(["a/b:1", "c@sha256:0"])})},
            optional={"servedName": NAMES},
        )
        | st.fixed_dictionaries({"persistentVolumeClaim": st.just({"claimName": "models", "path": "a/b"})}),
        "runtime": st.fixed_dictionaries({"version": st.sampled_from(["26.08", "26.03"])}),
    },
    optional={
        "engine": ENGINE,
        "replicas": st.integers(0, 1000),
        "resources": st.fixed_dictionaries({"limits": st.dictionaries(st.sampled_from(["cpu", "memory"]), QUANTITIES)}),
        "sharedMemorySize": QUANTITIES,
        "scheduling": st.fixed_dictionaries(
            {},
            optional={
                "nodeSelector": st.dictionaries(st.sampled_from(["zone", "gpu"]), st.sampled_from(["a", "b"])),
                "tolerations": st.lists(TOLERATIONS, max_size=3),
            },
        ),
    },
)


@given(SPECS)
def test_one_step_settles(spec: dict[str, Any]) -> None:
    world = World(spec=spec).settle()
    assert world.condition("Accepted") == ("True", "Valid")
    decision = world.decide()
    assert (decision.writes, decision.prunes, decision.status) == ((), (), None)


@given(SPECS)
def test_the_same_spec_renders_the_same_bytes(spec: dict[str, Any]) -> None:
    one, other = World(spec=spec).decide().manifests, World(spec=json.loads(json.dumps(spec))).decide().manifests
    assert json.dumps(one) == json.dumps(other)


@given(SPECS)
def test_model_json_holds_what_was_set_in_native_types(spec: dict[str, Any]) -> None:
    (config_map,) = (m for m in World(spec=spec).decide().manifests if m["kind"] == "ConfigMap")
    arguments: dict[str, Any] = json.loads(config_map["data"]["model.json"])  # type: ignore[index]
    engine = dict(spec.get("engine", {}))
    written = {**{snake_case(name): value for name, value in engine.items()}, **engine.get("extraArgs", {})}
    written.pop("extra_args", None)
    if engine.get("maxModelLen") == "Auto":
        written["max_model_len"] = -1
    if "kvCacheMemoryBytes" in engine:
        written["kv_cache_memory_bytes"] = int(parse_quantity(engine["kvCacheMemoryBytes"]))
    model = arguments.pop("model")
    assert model == ("/weights/a/b" if "persistentVolumeClaim" in spec["model"] else "/weights")
    assert arguments == written
    assert {name: type(value) for name, value in arguments.items()} == {n: type(v) for n, v in written.items()}


def snake_case(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)
    )
)
def test_any_spec_is_decided_on_without_an_exception(spec: Any) -> None:
    World(spec=spec if isinstance(spec, dict) else {"model": spec}).decide()


@given(SPECS)
def test_nothing_differs_from_itself(spec: dict[str, Any]) -> None:
    for manifest in World(spec=spec).decide().manifests:
        assert not differs(manifest, manifest)


def test_config_pbtxt_is_what_triton_reads() -> None:
    config = text_format.Parse(CONFIG_PBTXT, triton.ModelConfig())
    assert config.backend == "vllm"
    assert [(group.count, group.kind) for group in config.instance_group] == [(1, triton.ModelInstanceGroup.KIND_MODEL)]
    assert config.parameters["REPORT_CUSTOM_METRICS"].string_value == "true"
    assert not config.platform
    assert config.max_batch_size == 0
