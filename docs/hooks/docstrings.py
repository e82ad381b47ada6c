"""Docstrings as Markdown: arguments as a list, and names with an indented text below them as definitions."""

import re
from typing import Any

from griffe import Class, Docstring, Extension, Function, Module

_ARGUMENT = re.compile(r"^(\w+(?:, \w+)*): ", re.MULTILINE)
_DEFINITION = re.compile(r"^(`[^`\n]+`)\n {4}(?=\S)", re.MULTILINE)


class Docstrings(Extension):
    """Rewrites what is about to be shown."""

    def on_function_instance(self, *, func: Function, **_: Any) -> None:
        """List the arguments."""
        if func.docstring:
            _list_arguments(func.docstring)

    def on_module_instance(self, *, mod: Module, **_: Any) -> None:
        """Mark the definitions."""
        if mod.docstring:
            mod.docstring.value = _DEFINITION.sub(r"\1\n:   ", _without_tags(mod.docstring.value))

    def on_class_instance(self, *, cls: Class, **_: Any) -> None:
        """List the arguments that a class's own docstring names."""
        if cls.docstring:
            _list_arguments(cls.docstring)


def _list_arguments(docstring: Docstring) -> None:
    text = _ARGUMENT.sub(r"- **\1**: ", _without_tags(docstring.value))
    text = re.sub(r"^(?!- )(\S.*)\n(?=- \*\*)", r"\1\n\n", text, flags=re.MULTILINE)
    docstring.value = re.sub(r"\n(?=Raises |Source: )", "\n\n", text)


def _without_tags(text: str) -> str:
    """Return Markdown in which `list<float>` outside of code is no tag, which a browser would leave out."""
    parts = text.split("`")
    return "`".join(part if code % 2 else part.replace("<", "&lt;") for code, part in enumerate(parts))
