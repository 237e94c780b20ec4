"""The exception for errors that a user can fix, and errors as one line."""

from collections.abc import Iterator


class UserError(Exception):
    """A bad value, file or model; the message names it, what was expected and what to do."""


def explain(error: BaseException) -> str:
    """Return an error as one line: the user's mistake where there is one, else type and text."""
    mistake = find_cause(error, UserError)
    if mistake is not None:
        return str(mistake)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # Errors of the configuration and of the data speak for themselves.
    is_plain = type(error).__module__.split(".")[0] in ("hydra", "omegaconf", "tasks")
    return " ".join(lines) if is_plain else f"{type(error).__name__}: {' '.join(lines)}"


def find_cause(error: BaseException, kind: type[BaseException]) -> BaseException | None:
    """Return the first error of a kind among an error and what caused it."""
    return next((link for link in _chain(error) if isinstance(link, kind)), None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__
