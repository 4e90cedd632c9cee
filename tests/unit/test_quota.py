"""What a ResourceQuota's refusal tells."""

from decimal import Decimal

import pytest

from triton_vllm_operator.kube.requests import Amounts
from triton_vllm_operator.rollout.quota import read_refusal

OLD: Amounts = {"nvidia.com/gpu": Decimal(1), "memory": Decimal(4 * 2**30), "pods": Decimal(1)}


def of(name: str, requested: str, used: str, limited: str) -> str:
    counts = f"requested: {name}={requested}, used: {name}={used}, limited: {name}={limited}"
    return f'pods "llama-1" is forbidden: exceeded quota: team, {counts}'


@pytest.mark.parametrize(
    ("message", "instead", "full"),
    [
        # The quota is own pods'.
        (of("requests.nvidia.com/gpu", "1", "1", "1"), True, True),
        # Others fill it, and may go.
        (of("requests.nvidia.com/gpu", "1", "3", "3"), True, False),
        # A new pod that asks for more than the old one leaves.
        (of("requests.memory", "8Gi", "4Gi", "6Gi"), False, True),
        (of("memory", "6Gi", "4Gi", "6Gi"), True, True),
        (of("pods", "1", "1", "1"), True, True),
        (of("count/pods", "1", "5", "5"), True, False),
        # Of limits nothing is known: it is tried.
        (of("limits.memory", "8Gi", "4Gi", "6Gi"), True, False),
        # Of several the worst counts.
        (
            "exceeded quota: a, requested: pods=1,requests.memory=8Gi, used: pods=1,requests.memory=4Gi, "
            "limited: pods=1,requests.memory=6Gi",
            False,
            True,
        ),
        ("exceeded quota: that of another program", True, False),
    ],
)
def test_what_a_quota_would_take(message: str, instead: bool, full: bool) -> None:
    refusal = read_refusal(message)
    assert refusal is not None
    assert (refusal.takes_once_gone(OLD), refusal.is_full_of(OLD)) == (instead, full)


def test_other_refusals_are_none() -> None:
    assert read_refusal('pods "llama-1" is forbidden: error looking up service account a/b: not found') is None
