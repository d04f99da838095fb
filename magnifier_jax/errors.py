"""The error that every problem a user can fix is reported by."""


class UserError(ValueError):
    """Something asked for cannot be done; the message names it and says what to do."""
