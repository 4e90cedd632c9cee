"""What the backend keeps of the engine's figures between two writings."""

from statistics import fmean

import pytest

from llm_backend.figures import TOKEN_SAMPLE, Collector


def test_counters_add_up_gauges_are_the_newest_and_requests_are_all_kept() -> None:
    collector = Collector()
    for step in range(1000):
        collector.increment("tokens", 2)
        collector.increment("preemptions", 0)
        collector.set("running", step)
        collector.observe("latency", [float(step)])
    taken = collector.take()
    assert taken.counters == {"tokens": 2000}
    assert taken.gauges == {"running": 999}
    assert taken.values == [("latency", float(step)) for step in range(1000)]
    nothing = collector.take()
    assert (nothing.counters, nothing.gauges, nothing.values) == ({}, {}, [])


@pytest.mark.parametrize("count", [0, 1, 45, TOKEN_SAMPLE])
def test_few_tokens_are_all_kept(count: int) -> None:
    collector = Collector()
    for token in range(count):
        collector.observe_tokens("pace", [float(token)])
    assert collector.take().values == [("pace", float(token)) for token in range(count)]


def test_of_many_tokens_a_fair_sample_is_kept() -> None:
    collector, means = Collector(), []
    for _ in range(100):
        collector.observe_tokens("pace", map(float, range(5000)))
        values = collector.take().values
        assert len(values) == TOKEN_SAMPLE
        means.append(fmean(value for _, value in values))
    # The mean of 10,000 draws of 0..4999 lies within 4 standard errors of 2499.5 but once in 16,000 times.
    assert abs(fmean(means) - 2499.5) < 4 * 1443 / 100
