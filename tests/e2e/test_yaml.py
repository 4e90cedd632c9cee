"""`kubectl llm explain` reads YAML as kubectl does."""

import json

import pytest
import yaml

from cluster.errors import ClusterError
from cluster.kubectl import kubectl
from triton_vllm_operator.cli.kubernetes_yaml import read_documents

pytestmark = pytest.mark.e2e

HEAD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\n"
SCALARS = """
y Y yes Yes yEs no on off n N true TRUE tRue True ~ null Null NULL inf Infinity
0 -0 +1 -1 00 08 09 0777 0o17 0_7 0x1F -0x1 0b101 1_000 1__0 _1 1_0.5 12e 1e3 1E3 1.5e-3 1. .5 +.5 4.0
1:30 190:20:30 2026-11-25 2026-11-25T10:00:00Z 26.08 26.10 0.27.1 =x 1e400
"""
TAGGED = ["", "'1'", '"yes"', "!!str 1", "a b"]
REPEATED = "\n".join(
    ["a: &a [l, l, l, l, l, l, l, l, l]"]
    + [
        f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    ]
)


def as_kubectl_reads(text: str) -> object:
    return json.loads(kubectl("create", "--dry-run=client", "--validate=false", "-o", "json", "-f", "-", stdin=text))


def test_scalars_stand_for_what_kubectl_takes_them_for(cluster: str) -> None:
    lines = [f"  at{index}: {scalar}" for index, scalar in enumerate([*SCALARS.split(), *TAGGED])]
    text = "\n".join([HEAD + "values:", *lines, "  9: key", "  yes: key", "  1.50: key", "base: &base {x: 1}"]) + (
        "\nmerged: {<<: *base, y: 2}\n"
    )
    theirs, [ours] = as_kubectl_reads(text), read_documents(text)
    assert isinstance(theirs, dict)
    for part in ("values", "base", "merged"):
        # JSON, for which 1 and true differ, as they do not in Python.
        assert json.dumps(ours[part], sort_keys=True) == json.dumps(theirs[part], sort_keys=True)


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param("a: .inf\n", id="infinite"),
        pytest.param("a: .nan\n", id="not-a-number"),
        pytest.param("a: &a {b: [*a]}\n", id="anchor-in-itself"),
        pytest.param("a: *nothing\n", id="no-such-anchor"),
        pytest.param(REPEATED, id="aliases-of-aliases"),
        pytest.param("a: [1\n", id="open-bracket"),
        pytest.param("a:\n\t- 1\n", id="tab"),
    ],
)
def test_what_kubectl_cannot_read_explain_cannot_either(cluster: str, rest: str) -> None:
    with pytest.raises(ClusterError):
        as_kubectl_reads(HEAD + rest)
    with pytest.raises(yaml.YAMLError):
        read_documents(HEAD + rest)


def test_few_aliases_are_no_bomb(cluster: str) -> None:
    text = HEAD + "a: &a [x, x, x]\nb: [*a, *a, *a]\n"
    [ours] = read_documents(text)
    theirs = as_kubectl_reads(text)
    assert isinstance(theirs, dict)
    assert ours["b"] == theirs["b"]
