"""Which nodes take the pods, and which GPUs those offer."""

from typing import Any

import pytest

from support.nodes import H100, L4, make_node, node_body
from triton_vllm_operator.api.scheduling import Scheduling
from triton_vllm_operator.kube.nodes import project_node
from triton_vllm_operator.memory.offers import find_node_gpu, find_offers

GPU = "nvidia.com/gpu"
TAINT = {"key": "team", "value": "blue", "effect": "NoSchedule"}
NODES = (make_node("a", H100, 8), make_node("b", H100, 2), make_node("c", L4, 1), make_node("d", {}, 0))


def offered(scheduling: dict[str, Any], gpus: int = 1, nodes: Any = NODES) -> dict[str, tuple[str, ...]] | str:
    offers = find_offers(nodes, Scheduling.model_validate(scheduling), GPU, gpus)
    return offers.why_none or {offer.product: offer.nodes for offer in offers.found}


def affinity(**term: Any) -> dict[str, Any]:
    rule = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {"affinity": {"nodeAffinity": rule}}


def expression(operator: str, *values: str, key: str = "nvidia.com/gpu.memory") -> dict[str, Any]:
    return affinity(
        matchExpressions=[{"key": key, "operator": operator, **({"values": list(values)} if values else {})}]
    )


ALL = {"NVIDIA-H100-80GB-HBM3": ("a", "b"), "NVIDIA-L4": ("c",)}
ONLY_H100 = {"NVIDIA-H100-80GB-HBM3": ("a", "b")}
ONLY_L4 = {"NVIDIA-L4": ("c",)}


@pytest.mark.parametrize(
    ("scheduling", "gpus", "expected"),
    [
        ({}, 1, ALL),
        ({}, 4, {"NVIDIA-H100-80GB-HBM3": ("a",)}),
        ({}, 16, "no node that takes the pods has 16 nvidia.com/gpu: the most that one has is 8"),
        ({"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L4"}}, 1, ONLY_L4),
        ({"nodeSelector": {"zone": "x"}}, 1, "none of 4 nodes takes the pods by its labels and taints"),
        ({"nodeSelector": {"kubernetes.io/hostname": "d"}}, 1, "has 1 nvidia.com/gpu: none of them has any"),
        (expression("In", "81559", "5"), 1, ONLY_H100),
        (expression("NotIn", "81559"), 1, ONLY_L4),
        (expression("Exists"), 1, ALL),
        (expression("DoesNotExist"), 1, "none of them has any"),
        (expression("Gt", "30000"), 1, ONLY_H100),
        (expression("Lt", "30000"), 1, ONLY_L4),
        (expression("Lt", "many"), 1, "none of 4 nodes"),
        (expression("Near", "81559"), 1, "none of 4 nodes"),
        (affinity(matchFields=[{"key": "metadata.name", "operator": "In", "values": ["c"]}]), 1, ONLY_L4),
        (affinity(), 1, "none of 4 nodes"),
    ],
)
def test_labels_choose_nodes(scheduling: dict[str, Any], gpus: int, expected: Any) -> None:
    found = offered(scheduling, gpus)
    assert expected in found if isinstance(expected, str) else found == expected


@pytest.mark.parametrize(
    ("taint", "tolerations", "is_taken"),
    [
        (TAINT, [], False),
        ({**TAINT, "effect": "PreferNoSchedule"}, [], True),
        ({**TAINT, "effect": "NoExecute"}, [], False),
        (TAINT, [{"key": "team", "value": "blue"}], True),
        (TAINT, [{"key": "team", "value": "red"}], False),
        (TAINT, [{"key": "team", "operator": "Exists"}], True),
        (TAINT, [{"operator": "Exists"}], True),
        (TAINT, [{"operator": "Exists", "effect": "NoExecute"}], False),
        # Kubernetes tolerates this one for pods that ask for GPUs.
        ({"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}, [], True),
    ],
)
def test_taints_keep_pods_away(taint: dict[str, str], tolerations: list[dict[str, str]], is_taken: bool) -> None:
    nodes = (make_node("a", H100, taints=[taint]),)
    assert isinstance(offered({"tolerations": tolerations}, nodes=nodes), dict) is is_taken


@pytest.mark.parametrize(
    ("labels", "resource", "gib", "doubtful", "is_slice"),
    [
        (H100, GPU, 79.18, False, False),
        ({"nvidia.com/gpu.memory": "81559"}, GPU, 79.02, True, False),
        ({"cloud.google.com/gke-accelerator": "nvidia-l4"}, GPU, 22.05, False, False),
        # A p4de's A100 has 80 GiB, and the same name as those of 40.
        (
            {"karpenter.k8s.aws/instance-gpu-name": "a100", "karpenter.k8s.aws/instance-gpu-memory": "81920"},
            GPU,
            79.38,
            True,
            False,
        ),
        ({"nvidia.com/mig-3g.40gb.memory": "40192"}, "nvidia.com/mig-3g.40gb", 39.25, False, True),
        ({}, "nvidia.com/mig-3g.40gb", 38.0, True, True),
        (
            {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", "nvidia.com/gpu.memory": "9984"},
            GPU,
            9.75,
            False,
            True,
        ),
    ],
)
def test_labels_tell_the_gpu(labels: dict[str, str], resource: str, gib: float, doubtful: bool, is_slice: bool) -> None:
    gpu = find_node_gpu(make_node("a", labels, resource=resource), resource)
    assert gpu is not None
    assert gpu.total_bytes / 2**30 == pytest.approx(gib, abs=0.01)
    assert (gpu.doubt_bytes > 0, gpu.is_slice) == (doubtful, is_slice)


@pytest.mark.parametrize(
    ("product", "mib", "gib"),
    [("NVIDIA-L40", "46068", 44.36), ("NVIDIA-A40-24Q", "24576", 23.38), ("NVIDIA-L4", "2861", 2.17)],
)
def test_a_name_that_begins_alike_or_a_part_of_a_product_is_another(product: str, mib: str, gib: float) -> None:
    gpu = find_node_gpu(make_node("a", {"nvidia.com/gpu.product": product, "nvidia.com/gpu.memory": mib}), GPU)
    assert gpu is not None
    assert gpu.total_bytes / 2**30 == pytest.approx(gib, abs=0.01)
    assert gpu.doubt_bytes > 0


def test_an_odd_value_of_a_node_hides_nothing_else() -> None:
    body = node_body("a", H100, 2)
    body["status"]["allocatable"]["example.com/odd"] = "-1"
    assert project_node(body).allocatable[GPU] == 2


def test_a_node_without_labels_does_not_tell() -> None:
    assert find_node_gpu(make_node("a", {}), GPU) is None


def test_shared_gpus_are_known_by_their_labels() -> None:
    shared = {**L4, "nvidia.com/gpu.replicas": "4", "nvidia.com/gpu.sharing-strategy": "time-slicing"}
    whole = {**L4, "nvidia.com/gpu.replicas": "1", "nvidia.com/gpu.sharing-strategy": "none"}
    found = find_offers((make_node("a", shared, 4), make_node("b", whole)), Scheduling(), GPU, 1).found
    assert [(offer.sharing, offer.shared_by) for offer in found] == [("time-slicing", 4), ("", 1)]
