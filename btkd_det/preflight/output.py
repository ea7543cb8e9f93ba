"""Whether what a command makes can be written, before it makes it."""

import tempfile
from pathlib import Path

from ..errors import ConfigError


def check_output(path: str | Path, field: str, folder: bool = False) -> None:
    """Check that a file, or a folder, can be written; nothing is left there.

    Args:
        path (str | Path): What is to be written, its folder too where that is missing.
        field (str): The option that names it.
        folder (bool): Whether it is a folder.

    Raises:
        ConfigError: It cannot.
    """
    path = Path(path)
    if path.exists() and path.is_dir() != folder:
        found, valid = ('a folder', 'a file') if path.is_dir() else ('a file', 'a folder')
        raise ConfigError(f'{field}: {path} is {found}; valid is {valid}')
    place = path if folder else path.parent
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        # By trying: permissions do not tell of a file system that is read-only.
        with tempfile.NamedTemporaryFile(dir=place):
            pass
        # The longest name that is made of it.
        with tempfile.TemporaryDirectory(dir=place) as made:
            Path(made, f'.{path.name}.0000000.part').touch()
    except OSError as error:
        raise ConfigError(
            f'{field}: {path} cannot be written ({error.strerror or error} at {place}); valid is a '
            'place where this user may write'
        ) from error
