"""Pages of the command reference: every command with every option, from the parser itself."""

import re
from collections.abc import Iterator
from enum import Enum
from typing import Any

from cyclopts import App
from cyclopts.argument import Argument

from saccade.cli.main import ABOUT, COMMANDS, make_app


def command_pages() -> dict[str, str]:
    """Markdown of every page by its place in the site's sources."""
    app = make_app()
    rows = [f"| [saccade {name}]({name}.md) | {does} |" for name, (_, does) in COMMANDS.items()]
    index = (
        f"# Commands\n\n{ABOUT}\n\n| command | what it does |\n| --- | --- |\n" + "\n".join(rows) + "\n\n"
        "`saccade COMMAND --help` prints the same. Exit codes: 0 success, 1 failure, 2 wrong usage, 130 interrupted.\n"
    )
    pages = {"reference/commands/index.md": index}
    for name in COMMANDS:
        pages[f"reference/commands/{name}.md"] = "\n\n".join(_sections(app[name], ("saccade", name))) + "\n"
    return pages


def _sections(app: App, words: tuple[str, ...]) -> Iterator[str]:
    """The parts of a command's page; of its own commands too."""
    yield f"{'#' * (len(words) - 1)} {' '.join(words)}"
    text = _plain(app.help or "")
    if app.default_command is not None:
        arguments = [argument for argument in app.assemble_argument_collection(parse_docstring=True) if argument.show]
        yield f"```text\n{_usage(words, arguments)}\n```"
        yield from _paragraphs(app.default_command.__doc__ or text)
        if arguments:
            rows = "\n".join(map(_row, arguments))
            yield f"| option | what it does | value | default |\n| --- | --- | --- | --- |\n{rows}"
    elif text:
        yield text
    names = [name for name in app.resolved_commands() if not name.startswith("-")]
    if names:
        links = [f"- [{' '.join((*words, name))}](#{'-'.join((*words, name))})" for name in names]
        yield "\n".join(links)
    for name in names:
        yield from _sections(app[name], (*words, name))


def _usage(words: tuple[str, ...], arguments: list[Argument]) -> str:
    places = [a for a in arguments if a.field_info.is_positional]
    named = [" ".join(_names(a)) for a in places if not _names(a)[0].startswith("-")]
    return " ".join((*words, *(n if a.required else f"[{n}]" for n, a in zip(named, places)), "[OPTIONS]"))


def _paragraphs(docstring: str) -> Iterator[str]:
    """The text of a command's docstring above its parameters."""
    text = re.split(r"\n\s*(?:Parameters\n\s*-+|Args:)", docstring)[0]
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        yield _plain(paragraph)


def _names(argument: Argument) -> list[str]:
    """As they are typed: the option, its short form and its negation."""
    negative = set(argument.negatives)
    return [name for name in argument.names if name not in negative] + sorted(negative)


def _row(argument: Argument) -> str:
    names = ", ".join(f"`{name}`" for name in _names(argument))
    cells = (names, _plain(argument.parameter.help or ""), _values(argument), _default(argument))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _values(argument: Argument) -> str:
    if argument.is_flag():
        return ""
    choices = argument.get_choices()
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    names = re.findall(r"\b(int|float|str|bool|Path)\b", str(argument.hint))
    words = {"int": "whole number", "float": "number", "str": "text", "bool": "true or false", "Path": "path"}
    return " or ".join(dict.fromkeys(words[name] for name in names))


def _default(argument: Argument) -> str:
    value: Any = argument.field_info.default
    if argument.required:
        return "required"
    if value is argument.field_info.empty or value in (None, "", (), []):
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    value = value.name.lower() if isinstance(value, Enum) else value
    return f"`{' '.join(map(str, value)) if isinstance(value, tuple | list) else value}`"


def _plain(text: str) -> str:
    """Text of a help as Markdown: one line, without marks that Markdown would read."""
    return re.sub(r"([*_<\[\]])", r"\\\1", " ".join(text.split()))
