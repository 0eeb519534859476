"""Errors whose message is meant for the person who runs or queries the atlas."""


class AtlasError(Exception):
    """A failure that one clear line can explain; entry points print it without a traceback."""


class ConfigurationError(AtlasError):
    """A setting, path or port cannot be used as given."""


class DatabaseUnavailableError(AtlasError):
    """PostgreSQL cannot be started or reached."""


class InvalidKeyError(AtlasError, ValueError):
    """A public id does not have the form of one."""


class InvalidDateError(AtlasError, ValueError):
    """A text or a combination of parts is not a date."""


class ConnectionLostError(DatabaseUnavailableError):
    """A connection broke while it was used: reading once more on another one is worth it."""


class OverloadedError(DatabaseUnavailableError):
    """More is asked for than the connections can answer soon."""
