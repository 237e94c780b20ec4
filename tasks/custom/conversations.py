"""Chat rows: the turns of a conversation, of which the last answer is learned.

Messages are dictionaries with `role` and `content`, or with `from` and `value` (ShareGPT).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.base import DataError, Role, Row, Turn
from tasks.rows import check_characters, read_text, read_value, show_names, show_value

KEYS = (("role", "content"), ("from", "value"))
"""Of a message: who says it, and what."""

ROLES: Mapping[str, Role] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "chatgpt", "bing", "bard"), "assistant"),
}


@dataclass(frozen=True)
class ChatColumns:
    """Where a row has its turns."""

    columns: tuple[str, ...]
    """The column of all messages; or those of the prompt and of the completion, each a text or a
    list of messages."""
    keys: tuple[tuple[str, str], ...] = KEYS
    """The spellings of a message's two keys."""
    roles: Mapping[str, Role] = field(default_factory=lambda: ROLES)
    """How the data calls who speaks."""
    system: str | None = None
    """A column with a system turn for before all others; rows may lack it."""

    @property
    def optional(self) -> tuple[str, ...]:
        return (self.system,) if self.system else ()


@dataclass(frozen=True)
class Conversation:
    earlier: tuple[Turn, ...]
    """All turns before the last question."""
    question: str
    answer: str

    @property
    def opening(self) -> str:
        """The first question, by which rows of one conversation are known."""
        return next((text for role, text in self.earlier if role == "user"), self.question)


def read_conversation(row: Row, chat: ChatColumns) -> Conversation:
    """Read the turns up to the last answer.

    Raises DataError where a turn is no text, users and assistant do not take turns, or nobody
    answers.
    """
    turns = [turn for place in range(len(chat.columns)) for turn in _read_column(row, chat, place)]
    if chat.system and (text := _read_optional(row, chat.system)):
        turns = [("system", text), *(turn for turn in turns if turn[0] != "system")]
    while turns and turns[-1][0] != "assistant":
        turns.pop()
    spoken = turns[1:] if turns and turns[0][0] == "system" else turns
    name = f"column {chat.columns[0]!r}"
    if not spoken:
        raise DataError(f"{name} has no turn of the assistant, expected one to learn from")
    for number, (role, _) in enumerate(spoken):
        expected: Role = "assistant" if number % 2 else "user"
        if role != expected:
            place = number + 1 + len(turns) - len(spoken)
            raise DataError(
                f"{name}: turn {place} is the {role}'s, expected the {expected}'s: user and "
                "assistant take turns, after at most one system turn"
            )
    return Conversation(tuple(turns[:-2]), spoken[-2][1], spoken[-1][1])


def _read_column(row: Row, chat: ChatColumns, place: int) -> list[Turn]:
    column = chat.columns[place]
    value = read_value(row, column)
    if isinstance(value, str) and len(chat.columns) > 1:
        return [("assistant" if place else "user", read_text(row, column))]
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise DataError(f"column {column!r} is {show_value(value)}, expected a list of messages")
    return [
        _read_message(each, chat, f"column {column!r}: message {number}")
        for number, each in enumerate(value, start=1)
    ]


def _read_message(message: Any, chat: ChatColumns, name: str) -> Turn:
    if not isinstance(message, Mapping):
        raise DataError(f"{name} is {show_value(message)}, expected a role and a content")
    keys = next((pair for pair in chat.keys if set(pair) <= set(message)), None)
    if keys is None:
        expected = " or ".join(" and ".join(pair) for pair in chat.keys)
        raise DataError(f"{name} has {show_names(message)}, expected {expected}")
    role = chat.roles.get(str(message[keys[0]]).strip().lower())
    if role is None:
        raise DataError(
            f"{name} is said by {show_value(message[keys[0]])}, expected one of "
            f"{', '.join(chat.roles)}; tools are not supported"
        )
    if message.get("tool_calls"):
        raise DataError(f"{name} has tool_calls, expected text alone; tools are not supported")
    return role, _read_content(message[keys[1]], name)


def _read_content(content: Any, name: str) -> str:
    if isinstance(content, list) and all(
        isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in content
    ):
        content = "\n".join(part["text"] for part in content)
    if not isinstance(content, str) or not content.strip():
        raise DataError(f"{name} is {show_value(content)}, expected text")
    check_characters(content, name)
    return content


def read_history(row: Row, column: str) -> tuple[Turn, ...]:
    """Earlier turns as pairs of question and answer (LLaMA-Factory's `history`); rows may lack
    them."""
    turns: list[Turn] = []
    pairs = row.get(column) or ()
    if not isinstance(pairs, Sequence) or isinstance(pairs, str):
        raise DataError(f"column {column!r} is {show_value(pairs)}, expected a list of pairs")
    for number, pair in enumerate(pairs, start=1):
        name = f"column {column!r}: pair {number}"
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise DataError(f"{name} is {show_value(pair)}, expected a question and an answer")
        question, answer = (_read_content(text, name) for text in pair)
        turns += [("user", question), ("assistant", answer)]
    return tuple(turns)


def read_system(row: Row, column: str) -> tuple[Turn, ...]:
    """A system turn of a column that rows may lack."""
    text = _read_optional(row, column)
    return (("system", text),) if text else ()


def _read_optional(row: Row, column: str) -> str:
    value = row.get(column)
    return "" if value is None or value == "" else read_text(row, column)
