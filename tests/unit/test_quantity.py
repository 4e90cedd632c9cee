from decimal import Decimal

import pytest

from triton_vllm_operator.api.quantity import parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", "1"), ("500m", "0.5"), ("2Gi", str(2 * 2**30)), ("1e3", "1000"), ("1.5k", "1500"), ("2E", "2e18"), (4, "4")],
)
def test_reads_a_quantity(text: str, value: str) -> None:
    assert parse_quantity(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "Gi", "1 Gi", "-1", "1gi", "1e", "0x1"])
def test_refuses_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="is no quantity"):
        parse_quantity(text)
