"""An extension of griffe, which reads the package's docstrings for the site.

Roles of Sphinx (``:func:`load` ``) become links; a field without a docstring has its comment as one.
"""

import re
from typing import Any

import griffe

from docsite.comments import field_comment

ROLE = re.compile(r":(?:meth|class|func|mod|attr|data|obj):`~?([\w.]+)`")
NOT_ON_THE_SITE = ("saccade.cli",)  # its commands have pages of their own


class SiteDocstrings(griffe.Extension):
    """Docstrings as the site shows them."""

    def on_attribute_instance(self, *, attr: griffe.Attribute, **parts: Any) -> None:
        if attr.docstring is None and attr.lineno and isinstance(attr.parent, griffe.Class):
            lines = attr.lines_collection[attr.filepath]  # type: ignore[index]
            text = field_comment(lines, attr.lineno, attr.endlineno or attr.lineno)
            if text:
                attr.docstring = griffe.Docstring(text[0].upper() + text[1:], parent=attr)

    def on_package(self, *, pkg: griffe.Module, **parts: Any) -> None:
        _link_roles(pkg)


def _link_roles(module: griffe.Object) -> None:
    if module.docstring is not None:
        module.docstring.value = ROLE.sub(lambda match: _link(match[1], module), module.docstring.value)
    for member in module.members.values():
        if not member.is_alias:
            _link_roles(member)  # type: ignore[arg-type]


def _link(name: str, place: griffe.Object) -> str:
    """A link to what a name means at a place; the name alone if the site has no such object."""
    short = name.rpartition(".")[2] if name.startswith("saccade.") else name
    try:
        path = name if name.startswith("saccade.") else place.resolve(name.partition(".")[0])
        if "." in name and not name.startswith("saccade."):
            path = f"{path}.{name.partition('.')[2]}"
        target = place.modules_collection[path]
        path = target.canonical_path
    except (griffe.NameResolutionError, griffe.AliasResolutionError, griffe.CyclicAliasError, KeyError):
        return f"`{short}`"
    parts = path.split(".")
    on_site = parts[0] == "saccade" and not any(part.startswith("_") for part in parts) and len(parts) > 2
    on_site = on_site and not path.startswith(NOT_ON_THE_SITE)
    return f"[`{short}`][{path}]" if on_site else f"`{short}`"
