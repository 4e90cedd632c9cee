"""What Kubernetes says when it makes no pod, and what is made of it; and other sentences of the status."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from support.pods import make_pod, make_serving
from support.simulate import CATALOGUE, World
from triton_vllm_operator.api.platform import Pods, Policy
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.health.refusals import describe_refusal
from triton_vllm_operator.kube.pod import Ended, Gate
from triton_vllm_operator.kube.resources import DEPLOYMENT
from triton_vllm_operator.repository.catalogue import Catalogue
from triton_vllm_operator.sources.report import Fault, fault_report

QUOTA = (
    'pods "web-5d-x7" is forbidden: failed quota: team: must specify limits.cpu for: prepare,triton; memory for: triton'
)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            f"Error creating: {QUOTA}",
            "failed quota: team: must specify limits.cpu for: prepare,triton; memory for: triton; "
            "write spec.resources.limits.cpu, spec.resources.requests.memory",
        ),
        (
            'pods "a" is forbidden: exceeded quota: team, requested: pods=1, used: pods=3, limited: pods=3',
            "exceeded quota: team, requested: pods=1, used: pods=3, limited: pods=3; "
            "it goes on when the quota has room or is raised",
        ),
        (
            'pods "a-1" is forbidden: maximum cpu usage per Container is 1, but limit is 2',
            "maximum cpu usage per Container is 1, but limit is 2; "
            "the LimitRange of the namespace says so: mend spec.resources",
        ),
        (
            'pods "a-1" is forbidden: unable to validate against any security context constraint: uid 1000',
            "unable to validate against any security context constraint: uid 1000; where the cluster assigns users, "
            "the administrator sets the chart's podSecurity.setUser to false",
        ),
        (
            'pods "a-1" is forbidden: violates PodSecurity "restricted:latest": hostNetwork',
            'violates PodSecurity "restricted:latest": hostNetwork',
        ),
        (
            'admission webhook "policy.example.com" denied the request: pod "a-1" has no label team',
            'admission webhook "policy.example.com" denied the request: the pod has no label team',
        ),
    ],
)
def test_the_words_of_kubernetes_stay_and_a_remedy_follows(message: str, said: str) -> None:
    assert describe_refusal(message, "spec.resources") == said


def assigning() -> Catalogue:
    """The administrator has left users to the cluster."""
    return CATALOGUE.model_copy(update={"policy": Policy(pods=Pods(set_user=False))})


def refuse_pods(world: World, message: str, since: datetime | None = None) -> None:
    child = world.children["Deployment", "llama"]
    condition = {"type": "ReplicaFailure", "status": "True", "message": message}
    condition |= {"lastTransitionTime": since.isoformat()} if since else {}
    child.body["status"] = {"conditions": [condition]}


def user_of(world: World) -> Any:
    (deployment,) = world.of_kind(DEPLOYMENT.kind)
    return deployment.body["spec"]["template"]["spec"]["securityContext"].get("runAsUser")  # type: ignore[index, call-overload]


def test_pods_that_were_refused_are_made_anew_when_the_administrator_mends_it() -> None:
    world = World().settle()
    refuse_pods(world, 'pods "llama-1" is forbidden: security context constraint')
    before = world.status.revision
    world.settle()
    assert (world.condition("Ready"), user_of(world)) == (("False", "PodsRefused"), 1000)
    world.catalogue = assigning()
    world.settle()
    assert (user_of(world), world.status.revision == before) == (None, False)
    world.settle()
    assert world.decide().writes == (), "once, not again"


def test_pods_that_fail_before_their_engine_are_made_anew_too() -> None:
    world = World().settle()
    world.pods = (make_pod(world.revision, running=False, unprepared=Ended("Error", 1, "")),)
    world.catalogue = assigning()
    world.settle()
    assert user_of(world) is None


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "ErrImageNeverPull", "CreateContainerConfigError"])
def test_pods_that_wait_for_an_image_are_made_anew_when_the_administrator_names_another(reason: str) -> None:
    world = World().settle()
    world.pods = (make_pod(world.revision, running=False, waiting_reason=reason),)
    world.settle()
    before = world.status.revision
    entries = tuple(entry.model_copy(update={"image": "mirror/triton:1"}) for entry in world.catalogue.entries)
    world.catalogue = world.catalogue.model_copy(update={"entries": entries})
    world.settle()
    (deployment,) = world.of_kind(DEPLOYMENT.kind)
    containers = deployment.body["spec"]["template"]["spec"]["containers"]  # type: ignore[index, call-overload]
    assert (containers[0]["image"], world.status.revision == before) == ("mirror/triton:1", False)
    world.settle()
    assert world.decide().writes == (), "once, not again"


def test_another_vllm_of_the_catalogue_is_for_the_next_edit() -> None:
    world = World().settle()
    world.pods = (make_pod(world.revision, running=False, waiting_reason="ImagePullBackOff"),)
    before = world.settle().status.revision
    changed = {"image": "mirror/triton:2", "vllm": "0.33.0"}
    entries = tuple(entry.model_copy(update=changed) for entry in world.catalogue.entries)
    world.catalogue = world.catalogue.model_copy(update={"entries": entries})
    assert world.settle().status.revision == before


@pytest.mark.parametrize("serves", [True, False])
def test_pods_that_start_or_serve_are_not_touched(serves: bool) -> None:
    world = World().settle()
    world.pods = (make_serving(world.revision) if serves else make_pod(world.revision),)
    world.settle()
    before = world.status.revision
    world.catalogue = assigning()
    world.settle()
    assert (world.status.revision, user_of(world)) == (before, 1000)


NEVER = "never generated: "


@pytest.mark.parametrize(
    ("has_generated", "remedy"),
    [(True, "to replace it: kubectl delete pod"), (False, "it never generated, and a new pod")],
)
def test_a_failure_says_its_cause_and_a_remedy_that_helps(has_generated: bool, remedy: str) -> None:
    world = World().settle()
    gate = Gate(False, "GenerateFailed", "containerd://1", has_generated, "the model cannot generate")
    world.pods = (make_pod(world.revision, gate=gate, container_id="containerd://1"),)
    world.settle()
    message = world.message("Ready")
    assert "answers the probe with an error: the model cannot generate; " in message
    assert remedy in message


@pytest.mark.parametrize("reason", [Reason.MODEL_NOT_SERVABLE, Reason.MODEL_NOT_FOUND])
def test_a_model_that_its_pods_refuse_is_in_vain(reason: Reason) -> None:
    world = World().settle()
    told = fault_report(Fault(reason=reason, message="spec.model: no weights")).dump()
    world.pods = (make_pod(world.revision, running=False, unprepared=Ended("Error", 1, told)),)
    world.settle()
    assert (world.condition("Stalled"), world.condition("Ready")) == (("True", reason.value), ("False", reason.value))


def test_pods_that_are_refused_for_long_are_in_vain() -> None:
    world = World().settle()
    refuse_pods(world, 'pods "llama-1" is forbidden: exceeded quota', since=world.now)
    world.settle()
    assert world.condition("Stalled") == ("False", "NotStalled"), "in the middle of a roll it may pass"
    assert world.decide().look_again_at == world.now + timedelta(seconds=1800)
    world.now += timedelta(seconds=1800)
    world.settle()
    assert world.condition("Stalled") == ("True", "PodsRefused")


def test_what_is_in_vain_is_stalled_and_what_is_under_way_is_not() -> None:
    world = World().settle()
    assert world.condition("Stalled") == ("False", "NotStalled")
    world.edit(runtime={"version": "none"}).settle()
    assert world.condition("Stalled") == ("True", "UnknownRuntime")
    world = World().edit(replicas=0).settle()
    assert (world.condition("Ready"), world.condition("Available")) == (
        ("True", "ScaledToZero"),
        ("False", "NoPodGenerates"),
    )
    assert world.condition("Stalled") == ("False", "NotStalled")


def test_a_scheduler_that_says_nothing_is_named() -> None:
    world = World().edit(scheduling={"schedulerName": "kai-scheduler"}).settle()
    world.pods = (make_pod(world.revision, running=False, scheduled_at=None),)
    world.settle()
    assert "waits for the scheduler kai-scheduler" in world.message("Ready")


def test_a_service_that_cannot_be_changed_is_made_anew() -> None:
    world = World().settle()
    world.edit(service={"type": "Headless"})
    decision = world.step()
    assert [(child.kind.kind, child.name) for child in decision.prunes] == [("Service", "llama")]
    assert "Service" not in [manifest["kind"] for manifest in decision.manifests]
    assert [manifest["kind"] for manifest in world.step().manifests] == ["Service"]
    assert world.decide().writes == ()


def test_a_spec_that_cannot_be_read_keeps_its_service() -> None:
    world = World().edit(service={"type": "NodePort"}).settle()
    world.edit(engine={"noSuchField": 1}).settle()
    (service,) = world.of_kind("Service")
    assert service.body["spec"]["type"] == "NodePort"  # type: ignore[index, call-overload]
    assert world.condition("Accepted") == ("False", "SpecInvalid")


def test_adapters_without_effect_are_said_in_ready() -> None:
    world = World().settle()
    gate = Gate(True, "Generates", "containerd://1", adapter_faults=("prefix: it answers exactly as without",))
    world.pods = (make_pod(world.revision, ready=True, gate=gate),)
    world.settle()
    assert world.message("Ready").endswith("but spec.model.loraAdapters[prefix]: it answers exactly as without")
