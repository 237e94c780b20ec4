"""Prints the reference of all options, which is kept as docs/options.md.

python -m harness.cli.options > docs/options.md
"""

import json
from itertools import groupby
from typing import Any

from harness.cli.quiet_end import end_quietly
from harness.config.composing import compose
from harness.config.option_docs import FILLED_IN, Option, list_options
from harness.config.schema import Config

HEAD = """# Options

Every option can be set on the command line, `train.epochs=2`, or in a YAML file under `conf/`. The
defaults are those of `python -m harness` without arguments: `model=smollm2-135m-instruct`,
`target_modules=o_proj`, `task=medmcqa` and `adapter=lora`. Other choices bring defaults of their
own, which stand in `conf/<group>/<choice>.yaml`.

`python -m harness.cli.options` writes this page from `harness/config/schema.py`."""


def format_page() -> str:
    """Format the reference as Markdown: one table a section."""
    config = compose([])
    options = [each for each in list_options() if not each.meaning.startswith(FILLED_IN)]
    tables = [
        _format_table(section, list(members), config)
        for section, members in groupby(options, key=lambda each: each.section)
    ]
    return "\n\n".join([HEAD, *tables]) + "\n"


def _format_table(section: str, options: list[Option], config: Config) -> str:
    values = getattr(config, section) if section else config
    rows = [
        f"| `{each.key}` | {_format_value(getattr(values, each.name))} | "
        f"{each.meaning.replace('|', chr(92) + '|')} |"
        for each in options
    ]
    title = f"## {section or 'Top level'}"
    return "\n".join([title, "", "| option | default | meaning |", "|---|---|---|", *rows])


def _format_value(value: Any) -> str:
    """As it would be written in YAML."""
    if isinstance(value, dict):
        kept = ", ".join(f"{key}: {json.dumps(item)}" for key, item in value.items() if item)
        return f"`{{{kept}}}`"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


@end_quietly
def main() -> None:
    """Entry of `python -m harness.cli.options`."""
    print(format_page(), end="")


if __name__ == "__main__":
    main()
