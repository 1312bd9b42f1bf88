"""Prompts of zero-shot classification, and the files that they are read from. Loads no torch."""

from importlib import resources
from pathlib import Path

from saccade.errors import ConfigError
from saccade.files import is_file, read_text, split_lines

TEMPLATE = "a photo of a {}."


def check_prompts(labels: tuple[str, ...], templates: tuple[str, ...]) -> None:
    """Raise ConfigError if there are no labels, one is repeated, or a template has no placeholder."""
    if not labels or len(set(labels)) != len(labels):
        raise ConfigError(f"give at least one class, each once, not {', '.join(labels) or 'none'}")
    for template in templates:
        if "{}" not in template:
            raise ConfigError(f"the template {template!r} has no {{}} for the name of the class")


def read_lines(name: str) -> list[str]:
    """The lines of a text file, or of one that comes with the package: "photos", "scenes", "digits".

    Raises:
        ConfigError: there is no such file.
    """
    path = Path(name)
    packaged = resources.files("saccade").joinpath("prompts", f"{name}.txt")
    if is_file(path):
        text = read_text(path, ConfigError)
    elif "/" not in name and packaged.is_file():
        text = packaged.read_text(encoding="utf-8")
    else:
        raise ConfigError(
            f"there is no file {name}; the package has the templates photos and scenes, and the class names digits"
        )
    return [line.strip() for line in split_lines(text) if line.strip()]
