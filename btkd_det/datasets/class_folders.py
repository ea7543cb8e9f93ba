"""Folders of images that stand for classes."""

from pathlib import Path

from ..errors import ConfigError

#: Folders that macOS's archives, a Synology and Python leave beside others, as others hide theirs.
NO_CLASSES = ('__MACOSX', '@eaDir', '__pycache__')


def class_folders(place: Path, field: str) -> list[str]:
    """The folders that MMPretrain's ``CustomDataset`` takes for classes.

    Args:
        place (Path): Where they are.
        field (str): What says so.

    Returns:
        list[str]: Their names in the order of the labels.

    Raises:
        ConfigError: One was left there by a program: it would be a class, too, and shift the
            labels of those after it.
    """
    names = sorted(entry.name for entry in place.iterdir() if entry.is_dir())
    strays = [name for name in names if name.startswith('.') or name in NO_CLASSES]
    if strays:
        named = ', '.join(str(place / name) for name in strays[:3])
        raise ConfigError(
            f'{field}: {named}: no folder of a class, '
            'but it would be numbered as one; valid: a folder of each class and no other, so '
            'remove it or move it elsewhere'
        )
    return names
