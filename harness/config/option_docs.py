"""What every option means: the docstrings below the fields of the configuration's dataclasses."""

import ast
import inspect
from dataclasses import dataclass

from harness.config import schema

TOP = "Config"
FILLED_IN = "Filled in"
"""How the docstring of a field that no user sets begins."""


@dataclass(frozen=True)
class Option:
    section: str
    """Name of the section in `Config`; empty for an option at the top level."""
    name: str
    meaning: str
    """On one line; empty where the field has no docstring."""

    @property
    def key(self) -> str:
        """As it is written on the command line."""
        return f"{self.section}.{self.name}" if self.section else self.name


def list_options() -> list[Option]:
    """Return every field of the configuration, those at the top level first."""
    tree = ast.parse(inspect.getsource(schema))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    top = _read_fields(classes[TOP])
    sections = {name: classes[kind] for name, kind, _ in top if kind in classes}
    options = [Option("", name, meaning) for name, kind, meaning in top if kind not in classes]
    return options + [
        Option(section, name, meaning)
        for section, node in sections.items()
        for name, _, meaning in _read_fields(node)
    ]


def _read_fields(node: ast.ClassDef) -> list[tuple[str, str, str]]:
    """Name, type and docstring of a dataclass's fields."""
    fields = []
    for field, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            fields.append((field.target.id, ast.unparse(field.annotation), _read_text(after)))
    return fields


def _read_text(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return " ".join(str(node.value.value).split())
    return ""
