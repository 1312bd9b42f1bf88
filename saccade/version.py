"""The version of the package, importable from every module."""

__version__ = "0.2.0"
