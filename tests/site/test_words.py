"""The words of pages, help, errors, docstrings and reports: docsite/words.py has the list."""

import ast

from docsite.words import banned, message, problems, texts


def test_no_text_has_a_banned_word() -> None:
    parts = list(texts())
    lines = problems(parts)
    assert not lines, "\n".join(lines)
    places = [place for place, _ in parts]
    for kind in (
        "README.md",
        "docs/training.md",
        "docs/lectures/README.md",
        "help: train",
        "saccade/nn/attention.py, docstring of MultiHeadAttention",
        "saccade/reporting/page.html",
    ):
        assert kind in places
    assert sum(".py:" in place for place in places) > 300


def test_a_banned_word_has_its_line_and_what_to_write() -> None:
    assert banned("The model\nsays so.") == [(2, "says", "states, prints, shows")]
    assert banned('`it says` and "it knows" and [x](so-says.md)') == []
    assert [word for _, word, _ in banned("It goes on and on, of course.")] == ["goes on", "of course"]
    assert banned("a known, unknown and essays") == []


def test_the_text_of_an_error_has_no_values() -> None:
    call = ast.parse("E(f'there is no {name!r} here')").body[0].value  # type: ignore[attr-defined]
    assert message(call) == "there is no – here"
