"""Whoever meets a reason finds a page of its name that says what to do."""

from tools.reason_pages import FINE, FOLDER, SAID, render_pages
from triton_vllm_operator.api.reasons import Reason


def test_each_reason_that_is_no_good_news_has_a_page() -> None:
    pages = {path.stem: text for path, text in render_pages()}
    assert {reason.value for reason in Reason} - {reason.value for reason in FINE} == set(pages)
    assert not [reason for reason, text in pages.items() if "What helps:" not in text]


def test_no_page_is_of_a_reason_that_is_gone() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == {path.stem for path, _ in render_pages()}
    assert SAID.exists()
