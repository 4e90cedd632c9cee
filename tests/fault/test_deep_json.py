"""Fields that hold any JSON, as deep as the API server reads them."""

import json
import subprocess
import sys

from cluster.paths import REPOSITORY

DEPTH = 9_900
"""The API server's JSON reader stops at 10,000."""

SCRIPT = f"""
import json
from triton_vllm_operator import __main__ as operator
from triton_vllm_operator.kube.cache import Cache
from triton_vllm_operator.kube.resources import LLM_DEPLOYMENT, Key
from support.simulate import CPU_SPEC, World

operator.settings_from_process = lambda: (_ for _ in ()).throw(ValueError("far enough"))
assert operator.main() == 2
text = "[" * {DEPTH} + "]" * {DEPTH}
spec = {{**CPU_SPEC, "engine": {{"extraArgs": {{"hf_overrides": json.loads('{{"a": ' + text + "}}")}}}}}}
body = {{"metadata": {{"name": "web", "namespace": "ns", "uid": "u", "resourceVersion": "5"}}, "spec": spec}}
cache = Cache()
assert cache.put(LLM_DEPLOYMENT, json.loads(json.dumps(body))) == Key("ns", "web")
world = World(spec=cache.resource(Key("ns", "web"))["spec"]).settle()
print(world.condition("Accepted"), world.message("Accepted")[:100])
"""


def test_a_spec_as_deep_as_the_api_server_reads_harms_nobody() -> None:
    """In a process of its own: the limit is set when the operator starts."""
    paths = {"PYTHONPATH": f"{REPOSITORY}/operator:{REPOSITORY}/tests"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=paths, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("('"), json.dumps(done.stdout)
