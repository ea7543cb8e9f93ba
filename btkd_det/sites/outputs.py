"""What a part of a model gives while it runs."""

import contextlib
from collections.abc import Iterator
from typing import Any

from ..hints import Model


@contextlib.contextmanager
def outputs_of(model: Model, name: str, found: list | None = None) -> Iterator[Any]:
    """Within this context, note what a part of a model gives.

    Args:
        model (nn.Module): The model.
        name (str): The attribute that the part is.
        found (list, optional): Where to note it. A new list if not given.

    Yields:
        list: One entry for each call.
    """
    found = [] if found is None else found
    hook = getattr(model, name).register_forward_hook(
        lambda module, args, result: found.append(result)
    )
    try:
        yield found
    finally:
        hook.remove()
