"""What a spec says of its sources to the program that checks them."""

from typing import Any

import pytest

from triton_vllm_operator.api.spec import LLMDeploymentSpec
from triton_vllm_operator.manifests.sources import build_task, place_sources
from triton_vllm_operator.sources.task import Action, Expectation

SPEC: dict[str, Any] = {"model": {"image": {"reference": "registry/model:1"}}, "runtime": {"version": "26.08"}}


def expectation(vllm: str = "0.27.1", **extra: Any) -> Expectation:
    spec = LLMDeploymentSpec.model_validate({**SPEC, "engine": {"extraArgs": extra}})
    (placed,) = place_sources(spec)
    return build_task(placed, Action.CHECK, spec, vllm, {}).expectation


@pytest.mark.parametrize(
    ("extra", "overrides_config", "overrides_length"),
    [
        ({}, False, False),
        ({"hf_overrides": {"rope_scaling": {}}}, False, True),
        ({"hf_overrides": {"max_position_embeddings": 1, "rope_parameters": {}}}, False, True),
        ({"rope_theta": 1.0}, False, True),
        ({"hf_overrides": {"architectures": ["A"]}}, True, False),
        ({"hf_overrides": {"architectures": ["A"], "rope_theta": 1}}, True, True),
        ({"config_format": "mistral"}, True, False),
    ],
)
def test_what_is_overridden_is_not_held_against_the_files(
    extra: dict[str, Any], overrides_config: bool, overrides_length: bool
) -> None:
    found = expectation(**extra)
    assert (found.overrides_config, found.overrides_length) == (overrides_config, overrides_length)


def test_what_vllm_reads_in_any_case_is_small_afterwards() -> None:
    found = expectation(load_format="SafeTensors", tokenizer_mode="Mistral")
    assert (found.load_format, found.tokenizer_mode) == ("safetensors", "mistral")


def test_only_versions_with_the_argument_can_adapt_towers() -> None:
    name = "enable_tower_connector_lora"
    assert expectation(**{name: True}).adapts_towers
    assert (expectation().can_adapt_towers, expectation("0.13.0").can_adapt_towers) == (True, False)
