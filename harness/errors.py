"""The exception for errors that a user can fix, and errors as one line."""

from collections.abc import Iterator


class UserError(Exception):
    """A bad value, file or model; the message names it, what was expected and what to do."""


def explain(error: BaseException) -> str:
    """Return an error as one line: the user's mistake where there is one, else type and text."""
    mistake = find_cause(error, UserError)
    if mistake is not None:
        return str(mistake)
    lines = _reword([line.strip() for line in str(error).splitlines() if line.strip()])
    # Errors of the configuration and of the data speak for themselves.
    is_plain = type(error).__module__.split(".")[0] in ("hydra", "omegaconf", "tasks")
    return " ".join(lines) if is_plain else f"{type(error).__name__}: {' '.join(lines)}"


ADVICE = "To append to your config use +"
"""Hydra's, to add a setting that nothing would read."""


def _reword(lines: list[str]) -> list[str]:
    """Leave out where Hydra looked, and its advice; set its choices apart."""
    end = next((i for i, each in enumerate(lines) if each.startswith("Config search path:")), None)
    kept = [
        f"Nothing reads {line.removeprefix(ADVICE)}; docs/options.md lists all options."
        if line.startswith(ADVICE)
        else line
        for line in lines[:end]
    ]
    for place, line in enumerate(kept):
        if line.startswith("Available options in"):
            return [*kept[: place + 1], ", ".join(kept[place + 1 :])]
    return kept


def find_cause(error: BaseException, kind: type[BaseException]) -> BaseException | None:
    """Return the first error of a kind among an error and what caused it."""
    return next((link for link in _chain(error) if isinstance(link, kind)), None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__
