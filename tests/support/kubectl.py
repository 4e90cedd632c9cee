"""A kubectl that answers from files."""

import json
import stat
import sys
from pathlib import Path
from typing import Any

from triton_vllm_operator.api.status import LLMDeploymentStatus

KUBECTL = """#!{python}
import json, pathlib, sys, time
folder = pathlib.Path({folder!r})
words = [word for word in sys.argv[1:] if not word.startswith("--")]
given = "" if sys.stdin.isatty() or not ("--filename=-" in sys.argv or "--stdin" in sys.argv) else sys.stdin.read()
with (folder / "asked").open("a") as asked:
    asked.write(json.dumps([sys.argv[1:], given]) + "\\n")
for answer in sorted(folder.glob("answer-*")):
    if answer.name.removeprefix("answer-") in "-".join(words).replace("/", "_"):
        sys.stdout.write(answer.read_text())
        sys.stdout.flush()
        if words[0] == "port-forward":
            time.sleep(60)
        sys.exit(0)
sys.stderr.write('E1130 22:00:00.123456  1 memcache.go:265] "Unhandled Error" err="refused"\\n')
sys.stderr.write("Error from server (NotFound): not found")
sys.exit(1)
"""


class Cluster:
    """What kubectl answers, and what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def answer(self, words: str, text: object) -> None:
        """To a command that holds these words, joined by `-`."""
        (self.folder / f"answer-{words}").write_text(text if isinstance(text, str) else json.dumps(text))

    @property
    def asked(self) -> list[tuple[list[str], str]]:
        return [tuple(json.loads(line)) for line in (self.folder / "asked").read_text().splitlines()]


def fake_kubectl(folder: Path) -> Cluster:
    """Put one into a folder."""
    path = folder / "kubectl"
    path.write_text(KUBECTL.format(python=sys.executable, folder=str(folder)))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return Cluster(folder)


def llm_body(status: LLMDeploymentStatus, generation: int = 1, **spec: Any) -> dict[str, Any]:
    told = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    metadata = {"name": "llama", "namespace": "models", "generation": generation}
    return {"metadata": metadata, "spec": spec, "status": told}
