"""The chart's runtime catalogue, made from the package's own.

`python -m triton_vllm_operator.repository.chart_values --write` rewrites the end of the chart's values,
`--check` exits 1 if it differs.
"""

import argparse
import sys
from importlib import resources
from pathlib import Path
from typing import Final

VALUES: Final = Path("charts/triton-vllm-operator/values.yaml")
_MARK: Final = "# The runtimes that spec.runtime.version may name; `make chart` makes this list, do not edit it.\n"


def render_values(values: str, runtimes: str) -> str:
    """The chart's values with the catalogue at their end."""
    head = values.split(_MARK)[0]
    entries = [line for line in runtimes.splitlines() if line and not line.startswith("#")]
    return head + _MARK + "runtimes:\n" + "".join(f"  {line}\n" for line in entries)


def main(arguments: list[str]) -> int:
    """Write or check the chart's values, relative to the working directory."""
    parser = argparse.ArgumentParser(description=__doc__)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--write", action="store_true", help="rewrite the values")
    mode.add_argument("--check", action="store_true", help="exit 1 if the values differ from the catalogue")
    options = parser.parse_args(arguments)
    found = VALUES.read_text()
    wanted = render_values(found, (resources.files(__package__) / "runtimes.yaml").read_text())
    if options.write:
        VALUES.write_text(wanted)
    elif found != wanted:
        print(f"{VALUES} differs from the runtime catalogue, run `make chart`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
