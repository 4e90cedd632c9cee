"""Files of the tree that are made from the operator's code: `python -m tools.generated --write` or `--check`."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cluster.paths import REPOSITORY
from tools.board import render_board
from tools.reason_pages import render_pages
from triton_vllm_operator.api import crd

CRD: Final = REPOSITORY / "crds" / f"{crd.CRD_NAME}.yaml"
CHART: Final = REPOSITORY / "charts" / "triton-vllm-operator"
RUNTIMES: Final = REPOSITORY / "operator/triton_vllm_operator/repository/runtimes.yaml"
_MARK: Final = "# The runtimes that spec.runtime.version may name; `make generate` makes this list, do not edit it.\n"


def generate() -> Iterator[tuple[Path, str]]:
    """Every generated file with what should stand in it."""
    yield CRD, crd.render_crd()
    yield CHART / "templates" / "crd.yaml", crd.render_chart_crd()
    values = CHART / "values.yaml"
    yield values, render_values(values.read_text(), RUNTIMES.read_text())
    yield CHART / "files" / "board.json", render_board()
    yield from render_pages()


def render_values(values: str, runtimes: str) -> str:
    """The chart's values with the runtime catalogue at their end."""
    head = values.split(_MARK)[0]
    entries = [line for line in runtimes.splitlines() if line and not line.startswith("#")]
    return head + _MARK + "runtimes:\n" + "".join(f"  {line}\n" for line in entries)


def main(arguments: list[str]) -> int:
    """Write or check; 1 if a file differs from what it is made from."""
    parser = argparse.ArgumentParser(description=__doc__)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--write", action="store_true", help="rewrite the files")
    mode.add_argument("--check", action="store_true", help="exit 1 if a file differs")
    options = parser.parse_args(arguments)
    stale = [(path, text) for path, text in generate() if not path.exists() or path.read_text() != text]
    for path, text in stale:
        if options.write:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        else:
            print(f"{path.relative_to(REPOSITORY)} is not what the code makes, run `make generate`", file=sys.stderr)
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
