"""The one exception for what a user can put right: shown as one line, without a traceback."""


class UserError(Exception):
    """A bad value, file or model; the message names it, what was expected and what to do."""
