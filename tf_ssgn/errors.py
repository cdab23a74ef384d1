"""The one exception that a user's mistake raises."""

from __future__ import annotations


class UserError(Exception):
    """A mistake of the caller: bad path, bad value, bad file.

    The message is one line: what was received, what was expected, what to do.
    Commands print it to stderr and exit with code 2 (see `tf_ssgn.cli`).
    """

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))
