"""The one kind of error that a wrong config, checkpoint or data set raises."""


class ConfigError(ValueError):
    """What the user gave cannot work.

    The message names the field, the value found there and what would be valid.
    Raised at build time, before anything is trained or written.
    """
