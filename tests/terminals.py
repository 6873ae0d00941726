"""What a terminal sees, by a pair of pseudo-terminals."""

import os
import re

TERMINAL = {"TERM": "xterm", "COLUMNS": "100"}


def seen_on(terminal, until=None):
    """What a terminal is sent up to a pattern, or until its other end is closed."""
    seen = b""
    while until is None or not re.search(until, without_controls(seen)):
        try:
            seen += os.read(terminal, 65536)
        except OSError:  # the other end was closed
            assert until is None, seen
            break
    return seen


def without_controls(seen):
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", seen.decode(errors="replace"))
