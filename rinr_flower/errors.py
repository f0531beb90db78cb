"""Errors that a user can act on. The command line prints them as one line and exits with code 2."""


class RinrError(ValueError):
    """Base class of all errors that bad input causes. The text names the input, the value and the way out."""


class DataError(RinrError):
    """A data set, a clip or an image file is missing, malformed or unusable."""


class PayloadError(RinrError):
    """Bytes that should be a payload are truncated, altered, of another version, or ask for too much."""


class ConfigError(RinrError):
    """An option, a scenario key or a component name is unknown or out of range."""
