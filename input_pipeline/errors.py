"""The error that every problem with data is reported by."""


class DataError(ValueError):
    """Data that cannot be used; the message names the file or folder and says what to do."""
