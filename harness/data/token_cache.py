"""Tokenized examples on disk, found again by what they were made of.

The key is a digest of the examples, the tokenizer and the rules, so that a changed file,
template or limit is another entry, and nothing can be out of date.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from transformers import PreTrainedTokenizerBase

from harness.data.encoding import EncodedExample, EncodingRules
from harness.errors import UserError
from harness.records.files import write_table

if TYPE_CHECKING:
    from tasks.base import Example

VERSION = 1
"""Of what `harness.data.batching` makes of an example; a change there is a new one."""


def recall_or_encode(
    folder: Path,
    examples: Sequence["Example"],
    tokenizer: PreTrainedTokenizerBase,
    rules: EncodingRules,
    encode: Callable[..., list[EncodedExample]],
) -> list[EncodedExample]:
    """`encode(examples, tokenizer, rules)`, from `folder` where that has been done before.

    A cache that cannot be read or written is done without.
    """
    if not hasattr(tokenizer, "backend_tokenizer"):
        # One written in Python does not say what it is made of.
        return encode(examples, tokenizer, rules)
    path = folder / f"{_make_key(examples, tokenizer, rules)}.parquet"
    try:
        return _from_table(pd.read_parquet(path), examples)
    except (OSError, ValueError, KeyError):  # not there, torn, or of another layout
        encoded = encode(examples, tokenizer, rules)
    if encoded:
        with contextlib.suppress(UserError):
            write_table(path, [_to_row(item) for item in encoded])
    return encoded


def _make_key(
    examples: Sequence["Example"], tokenizer: PreTrainedTokenizerBase, rules: EncodingRules
) -> str:
    digest = hashlib.sha256()
    for part in (
        VERSION,
        tokenizer.backend_tokenizer.to_str(),
        tokenizer.chat_template,
        tokenizer.special_tokens_map,
        dataclasses.asdict(rules),
        [dataclasses.astuple(example) for example in examples],
    ):
        digest.update(json.dumps(part, sort_keys=True, default=str).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:32]


def _to_row(item: EncodedExample) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(item) if field.name != "example"]
    return {"id": item.example.id} | {name: getattr(item, name) for name in names}


def _from_table(table: pd.DataFrame, examples: Sequence["Example"]) -> list[EncodedExample]:
    if table["id"].tolist() != [example.id for example in examples]:
        raise ValueError("other examples")
    return [
        EncodedExample(
            example=example,
            prompt_ids=tuple(row["prompt_ids"].tolist()),
            completion_ids=tuple(row["completion_ids"].tolist()),
            choice_ids=tuple(tuple(choice.tolist()) for choice in row["choice_ids"]),
            cut_tokens=int(row["cut_tokens"]),
            is_completion_cut=bool(row["is_completion_cut"]),
        )
        for example, row in zip(examples, table.to_dict("records"), strict=True)
    ]
