"""The JSON object in a model's text, whatever stands around it.

The rule, in full:

1. Read is the object that the text begins with; else the first that opens a code fence; else the
   first of the text. What follows it is not looked at, so of two objects the first counts.
2. A brace opens an object where a quote, a bare key with its colon, or a closing brace follows:
   `use {x}` and `{` in prose do not.
3. The object must be JSON: cut off, single or typographic quotes, bare keys, trailing commas,
   comments, NaN and Infinity make it no object at all, and the objects inside it are not taken for
   it. Line breaks inside a text are forgiven. Of a key that is there twice the last value counts.
4. An object that is the only element of an array is read; an array of more or of other things is no
   object.
5. Nesting deeper than 100 levels is no object: a model that repeats an opening bracket.
"""

import json
import re
from typing import Any, NoReturn

MAX_DEPTH = 100
OBJECT = r"(?P<start>(?:\[\s*)?\{\s*(?:[\"'}“”‘’]|\w+\s*:))"  # noqa: RUF001
PATTERNS = (
    re.compile(r"[\s\ufeff]*" + OBJECT),
    re.compile(r"[\s\S]*?```(?:[ \t]*json)?\s*" + OBJECT, re.IGNORECASE),
    re.compile(r"[\s\S]*?" + OBJECT),
)


def extract_object(text: str) -> dict[str, Any] | None:
    """The object of a text by the rule above; None where there is none."""
    match = next(filter(None, (pattern.match(text) for pattern in PATTERNS)), None)
    if match is None:
        return None
    decoder = json.JSONDecoder(strict=False, parse_constant=_refuse_constant)
    try:
        value, _ = decoder.raw_decode(text, match.start("start"))
    except (ValueError, RecursionError):
        return None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, dict) and not is_deeper(value, MAX_DEPTH) else None


def is_deeper(value: Any, levels: int) -> bool:
    """Whether objects and arrays nest in more than so many levels."""
    layer = [value]
    for _ in range(levels):
        layer = [child for item in layer for child in _list_children(item)]
    return any(isinstance(item, (dict, list)) for item in layer)


def _list_children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
