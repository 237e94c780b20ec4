"""Prompts and answers as text and as tokens: the tokenizer's chat template, or plain text.

A template is the checkpoint's own program. What it would do to a study is found here, before the
first row is encoded: a prompt that it leaves out, a date that differs from one day to the next, a
`<think>` that stays open.
"""

import contextlib
import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedTokenizerBase

from harness.errors import UserError

if TYPE_CHECKING:
    from tasks.base import Turn

PROBE = "How many bolts are in box 7319?"
"""Must stand in the turn that a template makes of it."""

SYSTEM_PROBE = "Count only bolts of steel."

TEMPLATE_DATE = datetime.datetime(2026, 1, 1, 12)
"""What a template is told that today is."""

CLOCK = "strftime_now"
"""What transformers lets a template ask for the time."""

DATE_CODES = "aAbBcdefFgGhHIjklmMnpPrRsSTuUVwWxXyYzZ"

RESERVED = frozenset(
    ("messages", "conversation", "add_generation_prompt", "continue_final_message", "tokenize")
    + ("chat_template", "tools", "documents", "padding", "truncation", "max_length")
    + ("return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs")
)
"""Names of what `apply_chat_template` takes, which are no variables of a template's own."""

OTHER_DATE = datetime.datetime(2031, 11, 23, 4, 5, 6)


@dataclass(frozen=True)
class Template:
    """How the tokenizer's chat template is used."""

    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Variables that it is given, such as `enable_thinking`."""
    takes_parts: bool = False
    """Whether it wants a message's content as a list of parts."""

    def render(
        self,
        tokenizer: PreTrainedTokenizerBase,
        prompt: str,
        earlier: "Sequence[Turn]" = (),
        today: datetime.datetime = TEMPLATE_DATE,
    ) -> str:
        """Earlier turns, the user's, and the beginning of the answer's."""
        source = tokenizer.get_chat_template()
        text: str = tokenizer.apply_chat_template(
            [self._make_message(*turn) for turn in (*earlier, ("user", prompt))],
            chat_template=_fix_date(today) + source if CLOCK in source else source,
            tokenize=False,
            add_generation_prompt=True,
            **self.settings,
        )
        return text

    def _make_message(self, role: str, text: str) -> dict[str, Any]:
        content = [{"type": "text", "text": text}] if self.takes_parts else text
        return {"role": role, "content": content}


def _fix_date(today: datetime.datetime) -> str:
    """A macro under the name of the function that gives a template the present time."""
    codes = [f"%{dash}{code}" for dash in ("", "-") for code in DATE_CODES]
    pairs = [(code, today.strftime(code)) for code in codes]
    filters = "".join(f"|replace({code!r}, {value!r})" for code, value in pairs)
    return f"{{%- macro {CLOCK}(format) -%}}{{{{ format{filters} }}}}{{%- endmacro -%}}"


@dataclass(frozen=True)
class TurnWriter:
    """Sets prompts and answers as text, and as tokens."""

    tokenizer: PreTrainedTokenizerBase
    template: Template | None
    """None for plain text."""
    trailing: int = 0
    """Special tokens that the tokenizer puts behind a text, where an answer has to follow."""

    @classmethod
    def of(
        cls,
        tokenizer: PreTrainedTokenizerBase,
        use_chat_template: bool = True,
        settings: Mapping[str, Any] | None = None,
    ) -> "TurnWriter":
        """A writer that uses the tokenizer's chat template where it has one and may.

        `settings` are variables of the template. Raises UserError where it does not take a prompt,
        or does not read a setting.
        """
        if use_chat_template and tokenizer.chat_template is not None:
            return cls(tokenizer, _find_template(tokenizer, settings or {}))
        if settings:
            raise UserError(
                f"model.chat_template_kwargs is {dict(settings)}, but the tokenizer of "
                f"{tokenizer.name_or_path} has no chat template to read it; leave it out"
            )
        return cls(tokenizer, None, _count_trailing(tokenizer))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the scores has to know of the template, in sentences."""
        if self.template is None:
            return ()
        notes = []
        turn = self.write_turn(PROBE)
        if self.template.render(self.tokenizer, PROBE, today=OTHER_DATE) != turn:
            notes.append(
                "The chat template writes today's date; all prompts have "
                f"{TEMPLATE_DATE:%d %B %Y} in its place, so that a run can be repeated."
            )
        if turn.rfind("<think>") > turn.rfind("</think>"):
            notes.append(
                "The chat template opens <think> before every answer, so answers are trained and "
                "written inside it; where the template has a switch, "
                "'model.chat_template_kwargs={enable_thinking: false}' turns it off."
            )
        return tuple(notes)

    def write_turn(self, prompt: str, earlier: "Sequence[Turn]" = ()) -> str:
        """The prompt as the model reads it, after what was said before; ends where it answers."""
        if self.template is None:
            return _write_plain(prompt, earlier) if earlier else prompt
        if earlier and earlier[0][0] == "system" and not self._takes_system:
            (_, system), *said = earlier
            first = said[0][1] if said else prompt
            joined: list[Turn] = [("user", f"{system}\n\n{first}"), *said[1:]]
            earlier, prompt = (joined, prompt) if said else ([], joined[0][1])
        return self.template.render(self.tokenizer, prompt, earlier)

    @cached_property
    def _takes_system(self) -> bool:
        """Whether the template writes a system turn; else it goes before the first question."""
        assert self.template is not None
        try:
            text = self.template.render(self.tokenizer, PROBE, [("system", SYSTEM_PROBE)])
        except Exception:  # a program from outside, which raises what it likes
            return False
        return SYSTEM_PROBE in text and PROBE in text

    @property
    def lead(self) -> str:
        """What goes before an answer: plain prompts end in a word."""
        return "" if self.template else " "

    def encode_turn(self, text: str) -> list[int]:
        """Tokens of what `write_turn` wrote, at least one: an answer's first follows another."""
        # A template writes its own special tokens.
        if self.template:
            return list(self.tokenizer(text, add_special_tokens=False).input_ids)
        ids = list(self.tokenizer(text).input_ids)
        first = self.tokenizer.bos_token_id
        return ids[: len(ids) - self.trailing] or [
            int(self.tokenizer.eos_token_id if first is None else first)
        ]

    def encode_answer(self, turn: str, turn_ids: Sequence[int], answer: str) -> list[int]:
        """Tokens of an answer as they follow its turn, as lm-evaluation-harness takes them.

        Both are encoded together, for tokenizers that mark word starts encode an answer otherwise
        where it stands alone.
        """
        together = self.encode_turn(turn + self.lead + answer)
        if together[: len(turn_ids)] == list(turn_ids):
            return together[len(turn_ids) :]
        return list(self.tokenizer(self.lead + answer, add_special_tokens=False).input_ids)


PLAIN_NAMES = {"system": "", "user": "User: ", "assistant": "Assistant: "}
"""What opens a turn where there is no chat template."""


def _write_plain(prompt: str, earlier: "Sequence[Turn]") -> str:
    turns = [f"{PLAIN_NAMES[role]}{text}" for role, text in (*earlier, ("user", prompt))]
    return "\n\n".join([*turns, PLAIN_NAMES["assistant"].rstrip()])


def _find_template(tokenizer: PreTrainedTokenizerBase, settings: Mapping[str, Any]) -> Template:
    """The way of asking the template that puts a prompt into its turn."""
    _check_settings(tokenizer, settings)
    plain = Template(settings)
    reason = ""
    for template in (plain, dataclasses.replace(plain, takes_parts=True)):
        # It is a program from outside, and raises what it likes.
        try:
            text = template.render(tokenizer, PROBE)
        except Exception as error:
            reason = reason or f"fails ({str(error).splitlines()[0] if str(error) else error!r})"
            continue
        if PROBE in text:
            return template
        reason = reason or f"leaves the prompt out of the user's turn (it writes {text[:80]!r})"
    raise UserError(
        f"model: the chat template of {tokenizer.name_or_path} {reason}; mend its "
        "chat_template.jinja, give it what it wants with model.chat_template_kwargs, or set "
        "model.chat_template=off for plain prompts"
    )


def _check_settings(tokenizer: PreTrainedTokenizerBase, settings: Mapping[str, Any]) -> None:
    for name in RESERVED & set(settings):
        raise UserError(
            f"model.chat_template_kwargs.{name} is set, but the harness gives the template "
            f"{name} itself; leave it out"
        )
    text = ""
    with contextlib.suppress(ValueError):  # none of several is the default: said by rendering
        text = tokenizer.get_chat_template()
    for name in settings:
        if name not in text:
            raise UserError(
                f"model.chat_template_kwargs.{name} is set, but the chat template of "
                f"{tokenizer.name_or_path} has no variable {name}; leave it out"
            )


def _count_trailing(tokenizer: PreTrainedTokenizerBase) -> int:
    """Special tokens that a tokenizer puts behind a text."""
    whole = list(tokenizer(PROBE).input_ids)
    bare = list(tokenizer(PROBE, add_special_tokens=False).input_ids)
    starts = range(len(whole) - len(bare) + 1)
    start = next((i for i in starts if whole[i : i + len(bare)] == bare), len(starts) - 1)
    return len(whole) - len(bare) - start
