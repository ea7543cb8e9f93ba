"""A folder of one's own images, with a folder of each class: the data of a recipe."""

from pathlib import Path

from ..datasets.class_folders import class_folders
from ..errors import ConfigError
from .data import FOLDER, Images

SPLITS = ('train', 'val')


def of_folder(data_root: str | None) -> Images:
    """What a folder's images are, as far as a recipe has to know.

    Args:
        data_root (str): With ``train`` and ``val`` in it, each with a folder of images for each
            class, of the same names in both. Images may be of any size.

    Returns:
        Images: With the number of classes that the folder has.

    Raises:
        ConfigError: There is no such folder, its classes are too few or not those of both, or a
            folder is no class.
    """
    wanted = 'valid: a folder with train/CLASS/*.jpg and val/CLASS/*.jpg'
    if not data_root:
        raise ConfigError(f"data_root: missing for the dataset 'folder'; {wanted}")
    classes = []
    for split in SPLITS:
        place = Path(data_root, split)
        if not place.is_dir():
            raise ConfigError(f'data_root: {data_root} has no folder {split}; {wanted}')
        classes.append(set(class_folders(place, 'data_root')))
    if classes[0] != classes[1]:
        only = sorted(classes[0] ^ classes[1])[:3]
        raise ConfigError(
            f'data_root: {data_root} does not have the same classes in train and val: '
            f'{", ".join(only)} is in one of them alone; {wanted}'
        )
    if len(classes[0]) < 2:
        raise ConfigError(f'data_root: {data_root} has {len(classes[0])} classes; {wanted}')
    return FOLDER._replace(num_classes=len(classes[0]))
