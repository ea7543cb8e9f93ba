"""Are the files of an image set there, and if not, where do they belong?"""

from pathlib import Path
from typing import Any

from ..errors import ConfigError

#: mmpretrain's data sets of the CIFAR archives: folder, files that have to be in it, address.
CIFAR = {
    'CIFAR10': (
        'cifar-10-batches-py',
        (*(f'data_batch_{i}' for i in range(1, 6)), 'test_batch'),
        'https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz',
    ),
    'CIFAR100': (
        'cifar-100-python',
        ('train', 'test'),
        'https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz',
    ),
}
TINY_IMAGENET = 'tiny-imagenet-200'
TINY_IMAGENET_ADDRESS = 'http://cs231n.stanford.edu/tiny-imagenet-200.zip'


def check_image_files(dataset: dict[str, Any], field: str) -> bool:
    """Look for the files of a classification set, without reading them.

    mmpretrain's CIFAR sets begin a download where files are missing. Without a network that
    ends in an error of urllib, so here missing files are an error unless the config asks for
    the download in so many words, with ``download=True``.

    Args:
        dataset (dict): Config of mmpretrain's ``CIFAR10``, ``CIFAR100`` or ``ImageNet``, or of
            ``btkd_det.TinyImageNet``; of anything else nothing is known.
        field (str): Where it stands in the config.

    Returns:
        bool: Whether this is a set whose files are known here; if so, they were found or are to
        be downloaded.

    Raises:
        ConfigError: Files are missing; the message says where to put them.
    """
    scope, name = _scope_and_name(dataset)
    root = Path(str(dataset.get('data_root') or '.'))
    if '://' in str(dataset.get('data_root')):
        return False
    if name in CIFAR and scope in ('', 'mmpretrain'):
        if dataset.get('download') is not True:
            prefix = dataset.get('data_prefix') or ''
            _check_cifar(name, root / prefix if isinstance(prefix, str) else root, field)
        return True
    if name == 'TinyImageNet' and scope in ('', 'btkd_det'):
        find_tiny_imagenet(root, dataset.get('split', 'train'), field)
        return True
    if name == 'ImageNet' and scope in ('', 'mmpretrain') and dataset.get('split'):
        if not dataset.get('data_prefix'):
            _check_imagenet(root, dataset['split'], field)
        return True
    return False


def find_tiny_imagenet(root: str | Path, split: str, field: str) -> Path:
    """The folder of an unpacked Tiny-ImageNet archive that has all that a split needs.

    Args:
        root (str | Path): The folder ``tiny-imagenet-200``, or the one that it lies in.
        split (str): ``'train'`` or ``'val'``.
        field (str): Where the set stands in the config.

    Returns:
        Path: The folder with ``wnids.txt``.

    Raises:
        ConfigError: A file or folder is missing.
    """
    root = Path(root)
    if not (root / 'wnids.txt').is_file() and (root / TINY_IMAGENET).is_dir():
        root = root / TINY_IMAGENET
    needed = ['wnids.txt', 'words.txt']
    needed += ['train'] if split == 'train' else ['val/val_annotations.txt', 'val/images']
    missing = [name for name in needed if not (root / name).exists()]
    if missing:
        raise ConfigError(
            f'{field}.data_root: no {missing[0]} in {root} (looked in {Path.cwd()}); valid is the '
            f'folder {TINY_IMAGENET} of {TINY_IMAGENET_ADDRESS}, unpacked and not rearranged, '
            'with wnids.txt, words.txt, train/WNID/images/*.JPEG, val/images and '
            'val/val_annotations.txt'
        )
    return root


def _check_cifar(name: str, root: Any, field: str) -> None:
    folder, files, address = CIFAR[name]
    missing = [file for file in files if not (root / folder / file).is_file()]
    if missing:
        raise ConfigError(
            f'{field}.data_root: no file {root / folder / missing[0]} (looked in {Path.cwd()}); '
            f'unpack {address} in {root}, so that {root / folder} has {", ".join(files)}, or give '
            f'the folder that has {folder} in it as data_root; with download=True in the data set '
            'mmpretrain fetches it'
        )


def _check_imagenet(root: Any, split: Any, field: str) -> None:
    if not (root / split).is_dir():
        raise ConfigError(
            f'{field}.data_root: no folder {root / split} (looked in {Path.cwd()}); put the images '
            f'of ImageNet-1K there, one folder for each class ({root / split}/n01440764/*.JPEG), '
            f'or all in one folder with the labels in {root}/meta/{split}.txt'
        )


def _scope_and_name(dataset: Any) -> Any:
    kind = dataset.get('type', '')
    name = kind if isinstance(kind, str) else f'{kind.__module__.split(".")[0]}.{kind.__name__}'
    return name.rpartition('.')[::2]
