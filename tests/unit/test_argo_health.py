"""The health check for Argo CD in docs/gitops.md, run as Argo CD runs it: a Lua function of the object."""

from pathlib import Path
from typing import Any

import lupa
import pytest
import yaml

DOCUMENT = Path(__file__).parents[2] / "docs" / "gitops.md"
KEY = "resource.customizations.health.triton-vllm.dev_LLMDeployment"


def health(obj: dict[str, Any]) -> tuple[str, str]:
    """Status and message."""
    blocks = DOCUMENT.read_text().split("```yaml\n")[1:]
    (code,) = (data[KEY] for block in blocks if KEY in (data := yaml.safe_load(block.partition("```")[0])["data"]))
    lua = lupa.LuaRuntime(register_eval=False)
    found = lua.execute(f"return function(obj)\n{code}\nend")(lua.table_from(obj, recursive=True))
    return found["status"], found["message"]


def llm(observed: int | None, **conditions: tuple[str, str]) -> dict[str, Any]:
    found = [{"type": kind, "status": status, "message": said} for kind, (status, said) in conditions.items()]
    status = {"observedGeneration": observed, "conditions": found}
    return {"metadata": {"generation": 2}, **({} if observed is None else {"status": status})}


@pytest.mark.parametrize(
    ("obj", "status", "said"),
    [
        (llm(None), "Progressing", "the operator has not seen it yet"),
        (llm(-1), "Progressing", "the operator has not seen it yet"),
        (llm(1, Ready=("True", "old")), "Progressing", "the operator has not seen it yet"),
        (llm(2, Ready=("False", "loading"), Stalled=("False", "")), "Progressing", "loading"),
        (llm(2, Ready=("True", "1 of 1 pods generate"), Stalled=("False", "")), "Healthy", "1 of 1 pods generate"),
        (llm(2, Ready=("False", "no image"), Stalled=("True", "no image")), "Degraded", "no image"),
        (llm(2, Stalled=("True", ""), Ready=("False", "refused")), "Degraded", "refused"),
    ],
)
def test_argo_cd_says_what_the_conditions_say(obj: dict[str, Any], status: str, said: str) -> None:
    assert health(obj) == (status, said)
