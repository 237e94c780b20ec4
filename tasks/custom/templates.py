"""Jinja2 templates over the columns of a row, and columns taken as they are.

Templates run in Jinja2's sandbox. A column that a row lacks is an error rather than an empty text,
unless the template asks whether it is there: `{% if input %}`. A column whose name has a space is
`{{ row["ticket text"] }}`.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tasks.base import DataError, Row
from tasks.rows import read_text, read_value, show_value

WHOLE_ROW = "row"
"""What templates call the row, for columns whose names are no names in Jinja2."""
METHODS = frozenset(dir(dict))
"""What `row.items` and the like are, rather than columns."""


class ColumnText:
    """A column, as text."""

    def __init__(self, column: str, *, is_optional: bool = False) -> None:
        self.columns = (column,)
        self.optional = (column,) if is_optional else ()

    def render(self, row: Row) -> str:
        """The text; DataError for a column that is missing, null or no clean text."""
        return str(write_value(_read_column(row, self.columns[0], self.optional)))


class Renderer:
    """A template over a row's columns, checked before the first row is read."""

    def __init__(self, key: str, source: str, optional: Collection[str] = ()) -> None:
        """`key` names the setting in messages; `optional` columns may be empty or missing."""
        self._key = key
        environment = ImmutableSandboxedEnvironment(
            undefined=StrictUndefined, keep_trailing_newline=True
        )
        # A dictionary column renders as the JSON that a model should write.
        environment.finalize = write_value
        try:
            text = _read_line_breaks(source)
            self._template: Template = environment.from_string(text)
            tree = environment.parse(text)
            found = meta.find_undeclared_variables(tree) - {WHOLE_ROW} | _find_named(tree)
        except TemplateError as error:
            raise DataError(
                f"{key} is not a Jinja2 template ({error}); fix it. Write a column whose name "
                f'contains a space as {{{{ {WHOLE_ROW}["its name"] }}}}'
            ) from error
        self.columns = tuple(sorted(found, key=text.find))
        tested = _find_tested(tree)
        self.optional = tuple(name for name in self.columns if name in tested or name in optional)
        """Those of the columns that a row may lack."""
        self._globals = dict(self._template.globals)
        if not self.columns:
            raise DataError(
                f"{key} is {show_value(source)} and uses no column; write columns as "
                "{{ column }}"
            )

    def render(self, row: Row) -> str:
        """Fill the template in; DataError for a column that is missing, null or no clean text."""
        values = {column: _read_column(row, column, self.optional) for column in self.columns}
        # As Template.render does, but for a copy of its globals and of these values every time.
        context = self._template.new_context(
            {**self._globals, **values, WHOLE_ROW: values}, shared=True
        )
        try:
            return "".join(self._template.root_render_func(context))
        except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
            raise DataError(f"{self._key} cannot be filled in ({error})") from error


def make_text(key: str, source: str, optional: Collection[str] = ()) -> ColumnText | Renderer:
    """A reader of a setting that is a column's name, or a template."""
    if "{{" in source or "{%" in source:
        return Renderer(key, source, optional)
    return ColumnText(source, is_optional=source in optional)


def write_value(value: Any) -> Any:
    """Objects and lists as JSON; everything else as it is."""
    if isinstance(value, (Mapping, list, tuple)):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return value


def _read_line_breaks(source: str) -> str:
    r"""Read `\n` as a line break in a template of one line, and leave out those at its ends.

    A template of one line comes from the command line, where nothing else stands for a break; a
    block of YAML has real ones, and ends in one that is not meant.
    """
    text = source.strip()
    return text if "\n" in text else text.replace("\\n", "\n")


def _find_named(tree: nodes.Node) -> set[str]:
    """Columns that a template takes from the whole row by name."""
    attributes = {
        part.attr
        for part in [tree, *tree.find_all(nodes.Getattr)]
        if isinstance(part, nodes.Getattr)
        and isinstance(part.node, nodes.Name)
        and part.node.name == WHOLE_ROW
        and part.attr not in METHODS
    }
    return attributes | {
        part.arg.value
        for part in [tree, *tree.find_all(nodes.Getitem)]
        if isinstance(part, nodes.Getitem)
        and isinstance(part.node, nodes.Name)
        and part.node.name == WHOLE_ROW
        and isinstance(part.arg, nodes.Const)
        and isinstance(part.arg.value, str)
    }


def _find_tested(tree: nodes.Template) -> set[str]:
    """Columns of which a template asks whether they are there."""
    tests: list[nodes.Node] = [part.test for part in tree.find_all(nodes.If)]
    tests += [part.test for part in tree.find_all(nodes.CondExpr)]
    tests += [part.left for part in tree.find_all(nodes.Or)]
    tests += [
        part.node
        for part in tree.find_all(nodes.Filter)
        if part.name in ("default", "d") and part.node is not None
    ]
    names = {
        name.name for test in tests for name in [test, *test.find_all(nodes.Name)]
        if isinstance(name, nodes.Name)
    }  # fmt: skip
    return names.union(*map(_find_named, tests))


def _read_column(row: Row, column: str, optional: Collection[str]) -> Any:
    if column in optional:
        value = row.get(column)
        if value is None or (isinstance(value, str) and not value.strip()):
            return ""
    value = read_value(row, column)
    return read_text(row, column) if isinstance(value, str) else value
