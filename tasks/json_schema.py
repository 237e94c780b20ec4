"""The JSON schema of given values, for decoding that is held to it and for prompts that name it.

A subset of draft 2020-12 that grammar engines compile: type, properties, required, items, anyOf,
additionalProperties, maxItems, maxLength. https://json-schema.org/draft/2020-12
"""

import json
from collections.abc import Sequence
from typing import Any

from tasks.base import Example

Schema = dict[str, Any]

MOST_TIMES = 2
"""A text or an array may be so many times as long as the longest that was given ..."""
MORE_CHARACTERS, MORE_ITEMS = 16, 4
"""... and this much more: a greedy model that repeats itself would otherwise never close it."""
SKELETON_CHARACTERS = 2000
"""A longer skeleton is left with the keys that every value has."""


def infer_schema(values: Sequence[Any]) -> Schema:
    """The schema that every given value satisfies, and no other key, depth or type.

    Keys stand in the order in which they are first seen, and are required where every object of
    their place has them. An array that is always empty stays empty. Texts and arrays have bounds of
    about twice the longest. No values: anything goes.
    """
    if not values:
        return {}
    objects = [value for value in values if isinstance(value, dict)]
    arrays = [value for value in values if isinstance(value, list)]
    scalars = [value for value in values if not isinstance(value, (dict, list))]
    schemas = [_describe_objects(objects)] if objects else []
    schemas += [_describe_arrays(arrays)] if arrays else []
    schemas += [_describe_scalars(scalars)] if scalars else []
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def infer_answers(examples: Sequence[Example]) -> Schema:
    """The schema of what examples are to be answered by, without a reasoning before it."""
    return infer_schema([json.loads(example.reference) for example in examples])


def _describe_objects(objects: list[dict[str, Any]]) -> Schema:
    # A dict keeps the order in which keys were first seen; a set would not.
    keys = list(dict.fromkeys(key for item in objects for key in item))
    return {
        "type": "object",
        "properties": {
            key: infer_schema([item[key] for item in objects if key in item]) for key in keys
        },
        "required": [key for key in keys if all(key in item for item in objects)],
        "additionalProperties": False,
    }


def _describe_arrays(arrays: list[list[Any]]) -> Schema:
    items = [item for array in arrays for item in array]
    if not items:
        return {"type": "array", "maxItems": 0}
    most = MOST_TIMES * max(map(len, arrays)) + MORE_ITEMS
    return {"type": "array", "items": infer_schema(items), "maxItems": most}


def _describe_scalars(scalars: list[Any]) -> Schema:
    names = list(dict.fromkeys(map(_name_type, scalars)))
    if "number" in names and "integer" in names:
        names.remove("integer")
    schema: Schema = {"type": names[0] if len(names) == 1 else names}
    if texts := [value for value in scalars if isinstance(value, str)]:
        schema["maxLength"] = MOST_TIMES * max(map(len, texts)) + MORE_CHARACTERS
    return schema


def _name_type(value: Any) -> str:
    if value is None:
        return "null"
    # True is an int to Python.
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    return "number" if isinstance(value, float) else "string"


def write_skeleton(schema: Schema) -> str:
    """The keys of a schema as JSON, with `...` in place of every value: `{"total":"..."}`."""
    text = json.dumps(_sketch(schema), ensure_ascii=False, separators=(",", ":"))
    if len(text) <= SKELETON_CHARACTERS:
        return text
    least = _sketch(schema, only_required=True)
    return json.dumps(least, ensure_ascii=False, separators=(",", ":"))


def _sketch(schema: Schema, *, only_required: bool = False) -> Any:
    if "anyOf" in schema:
        # The first is an object, or else an array, where there is one.
        return _sketch(schema["anyOf"][0], only_required=only_required)
    if schema.get("type") == "object":
        kept = schema["required"] if only_required else schema["properties"]
        return {
            key: _sketch(schema["properties"][key], only_required=only_required) for key in kept
        }
    if schema.get("type") == "array":
        items = schema.get("items")
        return [_sketch(items, only_required=only_required)] if items else []
    return "..."
