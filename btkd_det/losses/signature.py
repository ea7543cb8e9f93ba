"""What a loss is given, by the signature of its ``per_row``."""

import inspect
from collections.abc import Callable


def declared_extras(per_row: Callable) -> list[str]:
    """What a ``per_row`` reads beside the logits of both and the labels, by its signature.

    Args:
        per_row (Callable): The function of a class.

    Returns:
        list[str]: Names of its further parameters.
    """
    parameters = list(inspect.signature(per_row).parameters.values())[4:]
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [parameter.name for parameter in parameters if parameter.kind in named]
