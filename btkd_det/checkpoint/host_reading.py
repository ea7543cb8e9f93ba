"""What MMEngine and the packages on it read: weights only, and each address its own file."""

import contextlib
from collections.abc import Iterator

from .loading import forced_weights_only
from .reading import read_content


@contextlib.contextmanager
def weights_only() -> Iterator[None]:
    """Within this context every ``torch.load``, of the host packages too, reads weights only.

    What MMEngine reads from an address comes from :mod:`btkd_det.checkpoint.download`; see also
    :func:`~btkd_det.checkpoint.loading.forced_weights_only`.

    Raises:
        ConfigError: Within the context, where a file holds something else than plain data.
    """
    with forced_weights_only(), _own_downloads():
        yield


@contextlib.contextmanager
def _own_downloads() -> Iterator[None]:
    """Within this context MMEngine's http scheme is ours: it goes by file names alone."""
    from mmengine.runner import CheckpointLoader

    before = CheckpointLoader._schemes.copy()
    CheckpointLoader.register_scheme(
        ('http://', 'https://'),
        lambda address, map_location=None: read_content(address, 'checkpoint'),
        force=True,
    )
    try:
        yield
    finally:
        CheckpointLoader._schemes = before
