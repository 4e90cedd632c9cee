"""The report of the program that looks at models: what fits into a termination message, and what is read back."""

import json

from perf.memory import read_model
from support.checkpoints import LLAMA
from triton_vllm_operator.sources.report import ModelFacts, Report, SourceReport, parse_report

SHAPE = read_model(LLAMA)


def report_of(*facts: ModelFacts) -> Report:
    return Report(sources=tuple(SourceReport(volume=f"v{number}", facts=each) for number, each in enumerate(facts)))


def test_a_shape_is_read_back_as_it_was() -> None:
    report = report_of(ModelFacts(architecture="LlamaForCausalLM", shape=SHAPE))
    assert len(report.dump()) < 1000
    assert parse_report(report.dump()) == report


def test_a_shape_of_another_version_spoils_nothing_else() -> None:
    stored = json.loads(report_of(ModelFacts(architecture="LlamaForCausalLM", shape=SHAPE)).dump())
    facts = stored["sources"][0]["facts"]
    facts["shape"] |= {"told": "by a newer version"}
    assert parse_report(json.dumps(stored)) == report_of(ModelFacts(architecture="LlamaForCausalLM", shape=SHAPE))
    facts["shape"]["kinds"][0]["attention"] = "Invented"
    assert parse_report(json.dumps(stored)) == report_of(ModelFacts(architecture="LlamaForCausalLM"))


def test_what_does_not_fit_is_left_out_and_that_is_said() -> None:
    large = SHAPE.model_copy(update={"weights": SHAPE.weights * 60})
    text = report_of(ModelFacts(warning="it is old", shape=large)).dump()
    assert len(text.encode()) <= 4096
    found = parse_report(text)
    assert found == report_of(ModelFacts(warning="it is old", shapeless="it does not fit into the report"))
