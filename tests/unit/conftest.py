"""What unit tests share."""

from pathlib import Path

import pytest

from support.kubectl import Cluster, fake_kubectl


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A kubectl on the PATH that answers from files."""
    found = fake_kubectl(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    return found
