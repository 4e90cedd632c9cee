"""The audit log, which the API server puts aside when it has grown."""

from pathlib import Path

from support.audit import audit_lines


def test_lines_that_were_put_aside_are_read_first(tmp_path: Path) -> None:
    (tmp_path / "audit.log").write_text("third\n")
    (tmp_path / "audit-2026-11-28T12-40-14.064.log").write_text("second\n")
    (tmp_path / "audit-2026-11-28T12-10-00.000.log").write_text("first\n")
    (tmp_path / "kubelet.log").write_text("another's\n")
    assert [line.strip() for line in audit_lines(tmp_path / "audit.log")] == ["first", "second", "third"]
