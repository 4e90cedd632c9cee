"""What every earlier commit stored in clusters, read off its golden files: `python -m tools.stored_revisions`.

Adds what is new since the file was made; it needs the history, and tests/unit/test_stored_revisions.py the file alone.
"""

import json
import lzma
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

STORED: Final = Path(__file__).parents[1] / "fixtures" / "stored_revisions.json.xz"
_IN, _OUT = ".in.yaml", ".out.yaml"
_KEPT: Final = ("ControllerRevision", "Deployment", "ConfigMap", "Service")
Row = dict[str, Any]


def main() -> int:
    """Read the history, and write the file."""
    rows = list(read_history())
    STORED.write_bytes(lzma.compress(json.dumps(rows, separators=(",", ":")).encode(), preset=9 | lzma.PRESET_EXTREME))
    print(f"{len(rows)} of {len({row['commit'] for row in rows})} commits, {STORED.stat().st_size} bytes")
    return 0


def load_stored() -> tuple[Row, ...]:
    """What was stored: `commit`, `scenario`, the user's `spec`, the `children`."""
    return tuple(json.loads(lzma.decompress(STORED.read_bytes())))


def read_history() -> Iterator[Row]:
    """Each golden file of each commit, once where several made the same of one spec."""
    seen: set[tuple[str, str]] = set()
    for commit in _git("log", "--reverse", "--format=%h", "HEAD").split():
        files = dict(_golden_files(commit))
        for path, blob in files.items():
            given = path.removesuffix(_OUT) + _IN
            if not path.endswith(_OUT) or given not in files or (blob, files[given]) in seen:
                continue
            seen.add((blob, files[given]))
            children = [each for each in _documents(blob) if isinstance(each, dict) and each.get("kind") in _KEPT]
            (spec,) = _documents(files[given])
            yield {"commit": commit, "scenario": Path(path).name.removesuffix(_OUT), "spec": spec, "children": children}


def _golden_files(commit: str) -> Iterator[tuple[str, str]]:
    for line in _git("ls-tree", "-r", commit, "--", "tests/golden").splitlines():
        described, path = line.split("\t")
        yield path, described.split()[2]


def _documents(blob: str) -> list[Any]:
    return list(yaml.load_all(_git("cat-file", "blob", blob), Loader=yaml.CSafeLoader))


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main())
