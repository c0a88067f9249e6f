"""The one exception whose message is written for the person at the keyboard."""


class UserError(ValueError):
    """Bad input: the message names the bad value, the good values and the repair; commands print it, no traceback."""
