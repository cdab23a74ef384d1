"""The one exception that a user's mistake raises, and what a damaged file says on one line."""

import re

from tf_ssgn.settings import LONGEST_REASON

QUOTED_BYTES = re.compile(r"(?:\\x[0-9a-f]{2}|[\x00-\x08\x0e-\x1f\x7f])+")  # what a reader quotes of a damaged file


def reason(error: BaseException) -> str:
    """What the reader of a damaged file says, on one line: without the bytes it quotes, and not at any length."""
    text = " ".join(QUOTED_BYTES.sub("…", str(error)).split()) or type(error).__name__
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 1] + "…"


class UserError(Exception):
    """A mistake of the caller: bad path, bad value, bad file. The message is one line: what was received, what was
    expected, what to do. Commands print it to stderr and exit with code 2 (`common.cli`)."""

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))
