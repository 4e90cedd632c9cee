"""Debian's packages that the cluster needs."""

import os
import shutil

from cluster.checks import CNI_PLUGIN, PACKAGES
from cluster.progress import step
from cluster.shell import run


def install_packages() -> None:
    """Install what is missing.

    Raises:
        ClusterError: apt-get failed.
    """
    missing = sorted(package for tool, package in PACKAGES.items() if shutil.which(tool) is None)
    if not CNI_PLUGIN.exists():
        missing.append("containernetworking-plugins")
    if not missing:
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with step(f"installing {', '.join(missing)}"):
        run(["apt-get", "update", "-q"], environment=environment)
        run(["apt-get", "install", "-q", "-y", "--no-install-recommends", *missing], environment=environment)
