"""What goes wrong in a training, as opposed to a command that is wrong."""

from __future__ import annotations


class RunFailedError(Exception):
    """A training ended in an error that nobody foresaw; the message says which one and where its traceback is."""
