"""Which GPUs our backend lets an instance see, by the words of config.pbtxt."""

import pytest

from llm_backend.devices import choose_devices


@pytest.mark.parametrize(
    ("kind", "device", "ids", "gpus", "expected"),
    [
        ("MODEL", 0, "", 4, None),
        ("CPU", -1, "", 1, None),
        ("GPU", 1, "", 1, "1"),
        ("GPU", -1, "", 1, None),
        ("MODEL", 0, "0, 3", 2, "0,3"),
        ("MODEL", 0, "2", 1, "2"),
    ],
)
def test_devices_follow_kind_and_parameter(kind: str, device: int, ids: str, gpus: int, expected: str | None) -> None:
    assert choose_devices(kind, device, ids, gpus) == expected


@pytest.mark.parametrize(
    ("kind", "ids", "gpus", "words"),
    [
        ("GPU", "", 2, "please specify KIND_MODEL"),
        ("MODEL", "a", 1, "no list of numbers"),
        ("MODEL", "-1", 1, "from 0 on"),
        ("MODEL", "0,0", 2, "different GPUs"),
        ("MODEL", "0", 2, "names 1 GPUs; the engine needs 2"),
    ],
)
def test_what_does_not_fit_is_refused(kind: str, ids: str, gpus: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        choose_devices(kind, 0, ids, gpus)
