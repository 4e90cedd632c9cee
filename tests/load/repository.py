"""Load model repositories into Triton, one after the other, and say what came of each. Runs in a pod.

`python repository.py CASES`: a JSON file of {name: {file: text}}. Prints a JSON object: {name: {"error"} or {"text"}}.
"""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

MODELS = Path("/tmp/models")
ADDRESS = "http://127.0.0.1:8000"
START_SECONDS = 60
LOAD_SECONDS = 240


def post(path: str, body: dict[str, object]) -> tuple[int, str]:
    """Status and text of a POST."""
    request = urllib.request.Request(
        f"{ADDRESS}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=LOAD_SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def is_live() -> bool:
    """Whether the server answers."""
    try:
        with urllib.request.urlopen(f"{ADDRESS}/v2/health/live", timeout=5):
            return True
    except OSError:
        return False


def try_model(name: str) -> dict[str, str]:
    """Load it, generate once, unload it."""
    status, text = post(f"/v2/repository/models/{name}/load", {})
    if status != 200:
        return {"error": text}
    parameters = {"max_tokens": 8, "temperature": 0, "ignore_eos": True}
    status, text = post(f"/v2/models/{name}/generate", {"text_input": "One, two,", "parameters": parameters})
    post(f"/v2/repository/models/{name}/unload", {})
    wait_until_unloaded(name)
    return {"text": json.loads(text)["text_output"]} if status == 200 else {"error": text}


def wait_until_unloaded(name: str) -> None:
    """The next engine needs the memory of this one."""
    for _ in range(60):
        index = json.loads(post("/v2/repository/index", {})[1])
        if all(model.get("state") == "UNAVAILABLE" for model in index if model["name"] == name):
            return
        time.sleep(1)


def main() -> None:
    """Try every case."""
    cases = json.loads(Path(sys.argv[1]).read_text())
    for name, files in cases.items():
        for file, text in files.items():
            path = MODELS / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    command = ["tritonserver", f"--model-repository={MODELS}", "--model-control-mode=explicit"]
    with subprocess.Popen([*command, "--exit-on-error=false"], stdout=sys.stderr, stderr=sys.stderr) as server:
        began = time.monotonic()
        while not is_live() and time.monotonic() - began < START_SECONDS:
            time.sleep(0.5)
        results = {name: try_model(name) for name in cases}
        server.terminate()
    print(json.dumps(results), flush=True)


if __name__ == "__main__":
    main()
