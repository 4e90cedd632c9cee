"""No tracked file names the host of a package registry: `python -m tools.registry_hosts`.

Which registry is used is the machine's own setting. Hosts of container images are fine.
"""

import re
import subprocess
import sys
from pathlib import Path

# Written in parts, so that this file does not name them either.
_HOSTS = ("pypi" + ".org", "pythonhosted" + ".org", "proxy.golang" + ".org", "sum.golang" + ".org")
_HOSTS += ("registry.npmjs" + ".org", "deb.debian" + ".org", "repo1" + ".maven.org")


def main() -> int:
    """1 if a file names such a host, with file and line on standard error."""
    pattern = re.compile("|".join(map(re.escape, _HOSTS)))
    tracked = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=True).stdout
    found = 0
    for name in filter(None, tracked.split("\0")):
        path = Path(name)
        for number, line in enumerate(path.read_text(errors="replace").splitlines() if path.is_file() else [], 1):
            if pattern.search(line):
                print(f"{name}:{number} names the host of a package registry", file=sys.stderr)
                found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
