"""The data sets are built and give one sample each, before anything is written."""

import copy
import hashlib
import inspect
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import FUNCTIONS
from mmengine.registry import MODELS as MMENGINE_MODELS

from ..config.reading import type_name
from ..errors import BUILD_ERRORS, ConfigError
from ..models.distilled import undisturbed_rng
from .images import skip_bad_images

LOADERS = ('train_dataloader', 'val_dataloader')


def check_samples(
    cfg: Config, loaders: Sequence[str] = LOADERS, found: dict[str, Any] | None = None
) -> tuple[int, int, int] | None:
    """Build the data sets and take one sample of each through pipeline and preprocessor.

    Args:
        cfg (Config): The whole config, its data's files checked.
        loaders (Sequence[str]): The data loaders to look at; the first tells the shape.
        found (dict[str, Contents], optional): What :func:`btkd_det.preflight.check_data` gave: a
            data set that gave a sample there is not built again.

    Returns:
        tuple[int, int, int] | None: (C, H, W) of what the model will be given; ``None`` where it
        is given something else than one batch of images.

    Raises:
        ConfigError: A data set does not build, is empty, or gives no sample, or the preprocessor
            refuses it.
    """
    cfg = copy.deepcopy(cfg)
    skip_bad_images(cfg)
    shapes = {}
    for loader in loaders:
        if cfg.get(loader) and isinstance(cfg[loader].get('dataset'), dict):
            with undisturbed_rng():
                batch = first_batch(cfg, loader, (found or {}).get(loader))
                shapes[loader] = _input_shape(cfg, batch, loader)
    return shapes.get(loaders[0])


def first_batch(cfg: Config, loader: str, contents: Any = None) -> dict[str, Any] | list[Any]:
    """A batch of the first sample of a data loader's set.

    Args:
        cfg (Config): The whole config.
        loader (str): Which.
        contents (Contents, optional): What is known of its data.

    Returns:
        dict | list: As MMEngine's data loaders give it.

    Raises:
        ConfigError: The data set does not build or gives no sample.
    """
    if contents is not None and contents.whole:
        return collated(cfg[loader], contents.samples[0][0])
    field = f'{loader}.dataset'
    with MMENGINE_DATASETS.switch_scope_and_registry(cfg.get('default_scope')) as registry:
        described = copy.deepcopy(cfg[loader].dataset)
        _stay_offline(described, registry, field)
        try:
            dataset = registry.build(described)
            if hasattr(dataset, 'full_init'):
                dataset.full_init()
        except ConfigError as error:
            raise ConfigError(_placed(error, field)) from error
        except Exception as error:  # a data set may be the user's own: anything can go wrong in it
            kind = type_name(cfg[loader].dataset)
            raise ConfigError(f'{field}: {kind} cannot be built: {_line(error)}') from error
        if hasattr(dataset, '__len__') and not len(dataset):
            raise ConfigError(
                f'{field}: has no images, or its filters leave none; valid is a set with images'
            )
        try:
            sample = dataset[0] if hasattr(dataset, '__getitem__') else next(iter(dataset))
        except ConfigError as error:
            raise ConfigError(_placed(error, field)) from error
        except Exception as error:  # and so can in its transforms
            raise ConfigError(
                f'{field}: its first image gives no sample: {_line(error)}'
            ) from error
        return collated(cfg[loader], sample)


def collated(loader: dict[str, Any], sample: Any) -> Any:
    """A batch of one sample, as a data loader makes it.

    Args:
        loader (dict): The data loader's config.
        sample (object): What its data set gives.
    """
    collate = dict(loader.get('collate_fn') or dict(type='pseudo_collate'))
    kind = collate.pop('type')
    collate.pop('_scope_', None)
    return (FUNCTIONS.get(kind) if isinstance(kind, str) else kind)([sample], **collate)


def _input_shape(cfg: Config, batch: Any, loader: str) -> Any:
    """(C, H, W) of a batch behind the data preprocessor, or None where it is no batch of images."""
    if not isinstance(batch, dict) or isinstance(batch.get('inputs'), dict):
        return None
    given = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    if not isinstance(given, dict):
        return None
    given = copy.deepcopy(dict(given))
    classifier = type_name(cfg.model).endswith('Classifier')
    given.setdefault('type', 'ClsDataPreprocessor' if classifier else 'BaseDataPreprocessor')
    with MMENGINE_MODELS.switch_scope_and_registry(cfg.get('default_scope')) as registry:
        try:
            preprocessor = registry.build(given)
        except BUILD_ERRORS:
            # Building the model says what is wrong with it.
            return None
        try:
            inputs = preprocessor(batch, training=False)['inputs']
        except Exception as error:  # as above
            raise ConfigError(
                f'{loader}: its images do not go through model.data_preprocessor '
                f'({type_name(given)}): {_line(error)}'
            ) from error
    if isinstance(inputs, (list, tuple)) and len(inputs):
        inputs = inputs[0][None] if isinstance(inputs[0], torch.Tensor) else None
    if not isinstance(inputs, torch.Tensor) or inputs.dim() != 4:
        return None
    shape = tuple(inputs.shape[1:])
    print_log(f'{loader}: images of {" x ".join(map(str, shape))}', 'current', logging.DEBUG)
    return shape


def _stay_offline(dataset: Any, registry: Any, field: str) -> None:
    """Let no data set download what is missing or damaged, unless its config asks for that."""
    if not isinstance(dataset, dict):
        return
    for key in ('dataset', 'datasets'):
        inner = dataset.get(key)
        for i, part in enumerate(inner if isinstance(inner, (list, tuple)) else [inner]):
            place = f'{field}.{key}[{i}]' if isinstance(inner, (list, tuple)) else f'{field}.{key}'
            _stay_offline(part, registry, place)
    kind = dataset.get('type')
    cls = registry.get(kind) if isinstance(kind, str) else kind
    if not inspect.isclass(cls) or dataset.get('download') is True:
        return
    if 'download' in inspect.signature(cls.__init__).parameters:
        dataset['download'] = False
        _check_archive(dataset, cls, field)


def _check_archive(dataset: Any, cls: Any, field: str) -> None:
    """Hold the files of a CIFAR archive against the digests that mmpretrain has of them."""
    prefix = dataset.get('data_prefix') or ''
    if not hasattr(cls, 'base_folder') or not isinstance(prefix, str):
        return
    folder = Path(str(dataset.get('data_root') or ''), prefix, cls.base_folder)
    for name, expected in (*cls.train_list, *cls.test_list):
        if not (folder / name).is_file():
            continue
        found = hashlib.md5((folder / name).read_bytes(), usedforsecurity=False).hexdigest()
        if found != expected:
            raise ConfigError(
                f'{field}.data_root: {folder / name} is damaged: its MD5 is {found}, that of the '
                f'archive {expected}; unpack {getattr(cls, "url", "the archive")} anew, or let '
                'mmpretrain fetch it with download=True'
            )


def _placed(error: Exception, field: str) -> Any:
    message = str(error)
    return message if message.startswith(field) else f'{field}.{message}'


def _line(error: Exception) -> str:
    """An error of another package in one line."""
    text = ' '.join(str(error).split()) or 'no message'
    return f'{type(error).__name__}: {text[:400]}'
