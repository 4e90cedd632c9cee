"""Kubernetes quantities: `500m`, `2Gi`, `1e3`."""

import re
from decimal import Decimal
from typing import Final

PATTERN: Final = r"^([0-9]+|[0-9]+\.[0-9]*|\.[0-9]+)(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?[0-9]{1,3})?$"

_FACTORS: Final = {
    "": Decimal(1),
    "n": Decimal("0.000000001"),
    "u": Decimal("0.000001"),
    "m": Decimal("0.001"),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", start=1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
}
_FORM: Final = re.compile(PATTERN)


def parse_quantity(text: str | int) -> Decimal:
    """The number that a quantity stands for, in the quantity's base unit (bytes, cores).

    Raises:
        ValueError: `text` is no Kubernetes quantity.
    """
    match = _FORM.fullmatch(str(text))
    if match is None:
        raise ValueError(f"{text!r} is no quantity: write for example 500m, 2Gi or 4")
    number, suffix = match.group(1), match.group(2) or ""
    if suffix[:1] in ("e", "E") and suffix not in _FACTORS:
        return Decimal(number).scaleb(int(suffix[1:]))
    return Decimal(number) * _FACTORS[suffix]
