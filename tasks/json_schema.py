"""The JSON schema of given values, for decoding that is held to it.

A subset of draft 2020-12 that grammar engines compile: type, properties, required, items, anyOf,
additionalProperties, maxItems. https://json-schema.org/draft/2020-12
"""

from collections.abc import Sequence
from typing import Any

Schema = dict[str, Any]


def infer_schema(values: Sequence[Any]) -> Schema:
    """The schema that every given value satisfies, and no other key, depth or type.

    Keys stand in the order in which they are first seen, and are required where every object of
    their place has them. An array that is always empty stays empty. No values: anything goes.
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
    return {"type": "array", "items": infer_schema(items)}


def _describe_scalars(scalars: list[Any]) -> Schema:
    names = list(dict.fromkeys(map(_name_type, scalars)))
    if "number" in names and "integer" in names:
        names.remove("integer")
    return {"type": names[0] if len(names) == 1 else names}


def _name_type(value: Any) -> str:
    if value is None:
        return "null"
    # True is an int to Python.
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    return "number" if isinstance(value, float) else "string"
