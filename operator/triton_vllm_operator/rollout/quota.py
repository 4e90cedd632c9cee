"""What a ResourceQuota says when it takes no more pods. Pure.

Its counts are of when it first said so: Kubernetes writes the same refusal once.
"""

import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from triton_vllm_operator.kube.requests import PODS, Amounts, read_amounts

# https://github.com/kubernetes/kubernetes/blob/v1.36.0/staging/src/k8s.io/apiserver/pkg/admission/plugin/resourcequota/controller.go
_REFUSAL: Final = "exceeded quota"
_COUNTS: Final = re.compile(r"requested: (\S+), used: (\S+), limited: ([^\s;]+)")


@dataclass(frozen=True, slots=True)
class QuotaRefusal:
    """The resources that were exceeded, under the names of quotas; none if it names none."""

    requested: Amounts = field(default_factory=dict)
    used: Amounts = field(default_factory=dict)
    limited: Amounts = field(default_factory=dict)

    def takes_once_gone(self, freed: Amounts) -> bool:
        """Whether it would take the pod once others are gone that asked for so much."""
        counts = _as_counts(freed)
        left = {name: self.used.get(name, _NONE) - gone for name, gone in counts.items()}
        return all(self._asks(name) + left[name] <= limit for name, limit in self._known(counts))

    def is_full_of(self, staying: Amounts) -> bool:
        """Whether it takes none as long as others stay that asked for so much, whoever else goes."""
        counts = _as_counts(staying)
        return any(self._asks(name) + counts[name] > limit for name, limit in self._known(counts))

    def _asks(self, name: str) -> Decimal:
        return self.requested.get(name, _NONE)

    def _known(self, counts: Amounts) -> list[tuple[str, Decimal]]:
        """Of limits, which pods have beside their requests, nothing is known."""
        return [(name, limit) for name, limit in self.limited.items() if name in counts]


_NONE: Final = Decimal(0)


def read_refusal(message: str) -> QuotaRefusal | None:
    """None if it is none of a quota's."""
    if _REFUSAL not in message:
        return None
    found = _COUNTS.search(message)
    return QuotaRefusal(*(_amounts(part) for part in found.groups())) if found is not None else QuotaRefusal()


def _amounts(text: str) -> Amounts:
    pairs = (pair.partition("=") for pair in text.split(","))
    return dict(read_amounts({name: amount for name, _, amount in pairs}))


def _as_counts(requests: Amounts) -> Amounts:
    """Under all names that a quota may have for them."""
    of_pods = {name: requests.get(PODS, _NONE) for name in (PODS, f"count/{PODS}")}
    return {**requests, **{f"requests.{name}": amount for name, amount in requests.items()}, **of_pods}
