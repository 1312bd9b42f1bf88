"""What mkdocs calls while it builds the site; see docsite/. It lies here so that `docsite` is found as a package."""

from docsite.events import on_files, on_page_markdown

__all__ = ["on_files", "on_page_markdown"]
