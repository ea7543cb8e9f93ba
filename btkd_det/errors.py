"""The one kind of error that a wrong config, checkpoint or data set raises."""


class ConfigError(ValueError):
    """What the user gave cannot work.

    The message names the field, the value found there and what would be valid.
    Raised at build time, before anything is trained or written.
    """


#: What MMEngine's builders raise on a config that cannot work, a package that is missing included.
BUILD_ERRORS = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    AssertionError,
    ImportError,
    OSError,
    RuntimeError,
)
