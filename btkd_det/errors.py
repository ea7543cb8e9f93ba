"""The one kind of error that a wrong config, checkpoint or data set raises."""


class ConfigError(ValueError):
    """What the user gave cannot work.

    The message names the field, the value found there and what would be valid.
    Raised at build time, before anything is trained or written.
    """


class TrainingError(RuntimeError):
    """What ends a training that had begun well; the message says how to go on."""


class NotFiniteError(TrainingError):
    """A loss is infinite or no number.

    The message names the terms, the iteration and where the batch lies.
    """


class SavingError(TrainingError):
    """What a training found cannot be written, as with a full disk.

    The message names what is kept and how to go on.
    """


class InterruptedTraining(TrainingError):
    """A signal asked the training to end.

    The message says where its checkpoint lies.

    Attributes:
        number (int): Of the signal.
    """

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.number = number


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
