"""What the images hold: all that their programs import."""

import ast
from pathlib import Path

from cluster.images import MODEL_TOOLS
from cluster.paths import REPOSITORY

PACKAGE = "triton_vllm_operator"
ROOT = REPOSITORY / "operator" / PACKAGE


def imported(file: Path) -> set[str]:
    """Modules of the package that a file imports, as paths below it."""
    found = {node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)}
    names = [f"{node.module}.{alias.name}" for node in found if node.module for alias in node.names]
    names += [node.module for node in found if node.module]
    paths = (name.removeprefix(f"{PACKAGE}.").replace(".", "/") for name in names if name.startswith(PACKAGE))
    return {path for path in paths if (ROOT / f"{path}.py").is_file()}


def test_the_image_of_model_tools_holds_what_its_program_imports() -> None:
    wanted, seen = {f"sources/{file.stem}" for file in (ROOT / "sources").glob("*.py")}, set[str]()
    while wanted - seen:
        module = (wanted - seen).pop()
        seen.add(module)
        wanted |= imported(ROOT / f"{module}.py")
    others = {f"operator/{PACKAGE}/{module}.py" for module in wanted if not module.startswith("sources/")}
    copied = (REPOSITORY / MODEL_TOOLS.dockerfile).read_text()
    assert {name for name in others if name not in copied} == set()
    assert {name for name in others if name not in MODEL_TOOLS.inputs} == set()
