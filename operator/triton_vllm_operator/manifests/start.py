"""What the serving container runs: Triton, and before it what an engine's start needs.

Triton takes note of SIGTERM once its models are loaded. As PID 1, for which Linux drops a signal that nothing is to be
done for, it would load on, and keep its GPUs, until kubelet kills it at the end of the grace period. So a shell is
PID 1, and hands SIGTERM on: Triton dies of it while it loads, and ends requests under way when it serves.
"""

import re
import shlex
from dataclasses import dataclass
from typing import Final

from triton_vllm_operator.api import names
from triton_vllm_operator.api.model import ModelSource
from triton_vllm_operator.api.rollout import Drain
from triton_vllm_operator.api.spec import MIG_RESOURCE, LLMDeploymentSpec
from triton_vllm_operator.manifests.identity import content_hash
from triton_vllm_operator.repository.arguments import load_arguments
from triton_vllm_operator.repository.content import Places, engine_arguments
from triton_vllm_operator.repository.utilization import find_utilization

PROGRAMS: Final = "/tmp"
"""Which both containers of a pod share."""
REPOSITORY: Final = "/models"
CACHE: Final = "/compile-cache"

WAIT_SECONDS: Final = 120
"""For which a container waits at most until its GPUs have the memory that the engine asks for."""
# Whoever can call these endpoints can load code into the server:
# https://github.com/triton-inference-server/server/blob/main/docs/customization_guide/deploy.md
_RESTRICTED: Final = "model-repository,shared-memory,trace"
_VERSION: Final = re.compile(r"(:[^/@]+)?(@[^/]+)?$")
"""The tag and the digest of an image."""
_START_PLAN: Final = "VLLM_ENABLE_STARTUP_PLAN"
_OF_MEMORY: Final = frozenset({"gpu_memory_utilization", "kv_cache_memory_bytes"})
"""Arguments that change nothing of what is compiled (vllm/config/cache.py, compute_hash)."""
# An image may ask for another signal (STOPSIGNAL). A signal ends the wait, not the server: it is waited for until it is
# gone, and its exit code is the container's.
_RUN: Final = """\
trap 'kill -TERM "$!"' TERM INT QUIT
"$@" &
while wait "$!"; code=$?; kill -0 "$!" 2>/dev/null; do :; done
exit "$code"
"""


@dataclass(frozen=True, slots=True)
class Program:
    """A program of ours that ends by becoming what comes after it."""

    file: str
    options: tuple[str, ...]

    @property
    def path(self) -> str:
        """Where the init container leaves it."""
        return f"{PROGRAMS}/{self.file}"


def find_programs(spec: LLMDeploymentSpec, vllm: str) -> tuple[str, ...]:
    """The files of the programs that run before the server, in their order."""
    waits = (names.WAIT_PROGRAM,) if _waits_for_memory(spec, vllm) else ()
    keeps = (names.CACHE_PROGRAM,) if spec.cache is not None else ()
    return (*waits, *keeps)


def build_start(spec: LLMDeploymentSpec, vllm: str, image: str) -> list[str]:
    """The arguments of the container: the server, and before it the programs."""
    programs = [_build_program(file, spec, vllm, image) for file in find_programs(spec, vllm)]
    return ["sh", "-c", _set_programs(programs) + _RUN, "sh", *_build_server(spec.ending)]


def _set_programs(programs: list[Program]) -> str:
    """A line that puts them before the server; none if there is none."""
    if not programs:
        return ""
    # A model-tools image of an earlier version leaves no program.
    there = " && ".join(f"[ -f {program.path} ]" for program in programs)
    run = " ".join(f"python3 {program.path} {shlex.join(program.options)}" for program in programs)
    return f'if {there}; then set -- {run} "$@"; fi\n'


def _build_program(file: str, spec: LLMDeploymentSpec, vllm: str, image: str) -> Program:
    if file == names.WAIT_PROGRAM:
        utilization = find_utilization(spec, vllm)
        return Program(file, (f"--utilization={utilization:g}", f"--seconds={WAIT_SECONDS}"))
    plan = ("--start-plan",) if _has_start_plan(spec, vllm) else ()
    return Program(file, (f"--volume={CACHE}", f"--settings={_name_settings(spec, vllm, image)}", *plan))


def _waits_for_memory(spec: LLMDeploymentSpec, vllm: str) -> bool:
    """Whether the serving container looks at its GPUs before the server starts.

    Of slices of a GPU nvidia-smi tells no memory; where the cache has a size of its own the share is not what counts.
    """
    is_sliced = (spec.gpu_resource or "").startswith(MIG_RESOURCE)
    has_share = find_utilization(spec, vllm) is not None and spec.engine.kv_cache_memory_bytes is None
    return has_share and not is_sliced


def _has_start_plan(spec: LLMDeploymentSpec, vllm: str) -> bool:
    """Whether that vLLM can keep what it profiled; where the KV cache has a size of its own it profiles nothing."""
    known = load_arguments(vllm)
    can = known is not None and _START_PLAN in known.environment
    return can and spec.gpu_resource is not None and spec.engine.kv_cache_memory_bytes is None


def _name_settings(spec: LLMDeploymentSpec, vllm: str, image: str) -> str:
    """The model and what an engine is told, whatever the commit of its weights, or the memory that it may take.

    The model, since a start plan, and a start that failed, say nothing of another one.
    """
    arguments = engine_arguments(spec.engine, Places(model=names.WEIGHTS))
    told = {name: value for name, value in arguments.items() if name not in _OF_MEMORY}
    adapters = len(spec.model.adapters)
    model = _name_model(spec.model)
    return content_hash({"image": image, "vllm": vllm, "model": model, "arguments": told, "adapters": adapters})


def _name_model(source: ModelSource) -> str:
    """Where its weights come from, without a tag, a digest or a commit."""
    if source.hugging_face is not None:
        return source.hugging_face.repository
    if source.image is not None:
        return f"{_VERSION.sub('', source.image.reference)} {source.image.path or ''}"
    claim = source.persistent_volume_claim
    return f"{claim.claim_name} {claim.path or ''}" if claim is not None else ""


def _build_server(ending: Drain) -> list[str]:
    restricted = f"{_RESTRICTED}:triton-vllm-operator=$(POD_UID)"
    age = ending.grpc_max_connection_age_seconds
    return [
        "tritonserver",
        f"--model-repository={REPOSITORY}",
        "--model-control-mode=none",
        f"--exit-timeout-secs={ending.timeout_seconds}",
        f"--http-restricted-api={restricted}",
        f"--grpc-restricted-protocol={restricted}",
        # No grace: a stream ends when it is done. tritonserver --help: milliseconds.
        *([f"--grpc-max-connection-age={1000 * age}"] if age is not None else []),
    ]
