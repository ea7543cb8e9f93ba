"""Everything that can be wrong before training starts, found before anything is written."""

import json
import mmap
import re
from pathlib import Path

from mmengine.config import ConfigDict
from mmengine.logging import print_log
from mmengine.registry import MODELS as MMENGINE_MODELS

from .checkpoint import class_names, read_checkpoint
from .config_file import read_config
from .errors import ConfigError
from .models.teacher import pretrained_address
from .registry import suggest

DATALOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# What MMEngine's Runner reads beside the keys that a config has already.
RUNNER_KEYS = [
    'auto_scale_lr',
    'custom_hooks',
    'custom_imports',
    'data_preprocessor',
    'default_hooks',
    'default_scope',
    'env_cfg',
    'experiment_name',
    'launcher',
    'load_from',
    'log_level',
    'log_processor',
    'model',
    'optim_wrapper',
    'param_scheduler',
    'randomness',
    'resume',
    'runner_type',
    'test_cfg',
    'test_dataloader',
    'test_evaluator',
    'train_cfg',
    'train_dataloader',
    'val_cfg',
    'val_dataloader',
    'val_evaluator',
    'visualizer',
    'work_dir',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'sync_bn',
    'compile',
]


def load_config(path, options=None):
    """Read a config and merge ``--cfg-options`` into it.

    The option ``data_root`` moves every path that starts with the config's own ``data_root``,
    in the data sets and in the evaluators alike.

    Args:
        path (str): A file, or a config of an installed package.
        options (dict, optional): Dotted keys to values.

    Returns:
        Config: The config.

    Raises:
        ConfigError: There is no such config, or an option's first key means nothing.
    """
    cfg = read_config(path, 'CONFIG')
    options = dict(options or {})
    for key, value in options.items():
        first = key.split('.')[0]
        if first not in cfg and first not in RUNNER_KEYS:
            valid = sorted({*cfg, *RUNNER_KEYS})
            raise ConfigError(
                f'--cfg-options {key}={value}: the config has no {first!r}'
                f'{suggest(first, valid)}; valid first keys: {", ".join(valid)}'
            )
    if 'data_root' in options and 'data_root' in cfg:
        _move_data_root(cfg, str(cfg.data_root), str(options.pop('data_root')))
    try:
        cfg.merge_from_dict(options)
    except (KeyError, TypeError, IndexError, AssertionError) as error:
        raise ConfigError(f'--cfg-options: cannot be merged into {path}: {error}') from error
    return cfg


def check_data(cfg, loaders=DATALOADERS):
    """Check that the data sets' files are there and that the class names are in them.

    Args:
        cfg (Config): The whole config.
        loaders (Iterable[str]): The data loaders to look at.

    Raises:
        ConfigError: A missing root, annotation file or image folder, an annotation file that is
            no COCO JSON, or a class that it does not list.
    """
    for loader in loaders:
        if cfg.get(loader):
            for dataset, field in _datasets(cfg[loader].get('dataset'), f'{loader}.dataset'):
                _check_dataset(dataset, field)


def map_classes(cfg):
    """Find the student's classes among the teacher's by name, where they differ in order.

    Sets ``model.teacher.class_map`` where the data's classes are the teacher's in another order
    or some of them; leaves everything else to :func:`check_model`.

    Args:
        cfg (Config): The whole config, its data checked; changed in place.

    Raises:
        ConfigError: The teacher's checkpoint cannot be read.
    """
    teacher, classes = cfg.model.get('teacher'), _classes_of_data(cfg)
    if not teacher or not cfg.model.get('distill') or not classes or 'class_map' in teacher:
        return
    if not teacher.get('checkpoint') or 'config' not in teacher:
        return
    source = teacher.checkpoint
    if source == 'pretrained':
        source = pretrained_address(teacher.config)
    taught = class_names(read_checkpoint(source, 'model.teacher.checkpoint')[1])
    if taught is None or tuple(taught) == tuple(classes) or not set(classes) <= set(taught):
        return
    teacher.class_map = [taught.index(name) for name in classes]
    print_log(
        f"teacher: knows {len(taught)} classes, the data set's {len(classes)} among them; mapped "
        'by name',
        'current',
    )


def check_model(cfg):
    """Build the model once, and hold its classes against the data's and the teacher's.

    Args:
        cfg (Config): The whole config, its data checked.

    Returns:
        nn.Module: The model, on the CPU. It is of no further use: the run builds its own under
        its own seed.

    Raises:
        ConfigError: The model does not build, or its classes are not the data's or the
            teacher's.
    """
    teacher = cfg.model.get('teacher')
    if teacher is not None and cfg.model.get('distill') and not teacher.get('checkpoint'):
        raise ConfigError(
            'model.teacher.checkpoint: missing; valid: the path of a checkpoint, an http(s) '
            "address, or 'pretrained' for a config of an installed package"
        )
    model = build_model(cfg)
    classes = _classes_of_data(cfg)
    if classes is not None:
        _check_class_count(model, classes)
        _check_teacher_classes(model, classes)
    return model


def build_model(cfg):
    """Build ``cfg.model`` as MMEngine's runner does.

    Args:
        cfg (Config): The whole config.

    Returns:
        nn.Module: The model.

    Raises:
        ConfigError: What MMEngine's builders complain of, with the field ``model`` before it.
    """
    model_cfg = ConfigDict(cfg.model.to_dict() if hasattr(cfg.model, 'to_dict') else cfg.model)
    if cfg.get('data_preprocessor') is not None:
        model_cfg.setdefault('data_preprocessor', cfg.data_preprocessor)
    try:
        with MMENGINE_MODELS.switch_scope_and_registry(cfg.get('default_scope')) as registry:
            return registry.build(model_cfg)
    except ConfigError as error:
        message = str(error)
        raise ConfigError(message if message.startswith('model') else f'model.{message}') from error
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
        raise ConfigError(f'model: cannot be built: {error}') from error


def check_weights(cfg):
    """Check that the checkpoint that training starts from can be read.

    Args:
        cfg (Config): The whole config; ``load_from`` may be unset.

    Raises:
        ConfigError: It is not there or is no checkpoint.
    """
    source = cfg.get('load_from')
    if source and '://' not in str(source):
        read_checkpoint(source, '--resume' if cfg.get('resume') else 'load_from')


def _move_data_root(node, old, new):
    """Replace the prefix ``old`` of every string below ``node``."""
    new = new.rstrip('/') + '/' if old.endswith('/') else new
    items = node.items() if hasattr(node, 'items') else enumerate(node)
    for key, value in list(items):
        if isinstance(value, str) and value.startswith(old):
            node[key] = new + value[len(old) :]
        elif isinstance(value, (dict, list)):
            _move_data_root(value, old, new)


def _datasets(dataset, field):
    """The innermost data sets of a possibly wrapped one, each with its place in the config."""
    if not isinstance(dataset, dict):
        return
    if 'dataset' in dataset:
        yield from _datasets(dataset['dataset'], f'{field}.dataset')
    for i, part in enumerate(dataset.get('datasets', ())):
        yield from _datasets(part, f'{field}.datasets[{i}]')
    if 'ann_file' in dataset or 'data_root' in dataset:
        yield dataset, field


def _check_dataset(dataset, field):
    root = dataset.get('data_root') or ''
    if '://' in str(root):
        return
    if root and not Path(root).is_dir():
        raise ConfigError(
            f'{field}.data_root: no folder {root} (looked in {Path.cwd()}); give the folder of '
            'the data set with --cfg-options data_root=FOLDER'
        )
    annotations = dataset.get('ann_file')
    if annotations:
        path = Path(root, annotations)
        if not path.is_file():
            raise ConfigError(
                f'{field}.ann_file: no file {path}; valid is an annotation file below the '
                f'data root {root or Path.cwd()}'
            )
        if path.suffix == '.json':
            _check_categories(dataset, path, f'{field}.ann_file')
    for kind, folder in (dataset.get('data_prefix') or {}).items():
        if isinstance(folder, str) and folder and not Path(root, folder).is_dir():
            raise ConfigError(
                f'{field}.data_prefix.{kind}: no folder {Path(root, folder)}; valid is the '
                'folder of the images'
            )


def _check_categories(dataset, path, field):
    names = category_names(path)
    if names is None:
        raise ConfigError(
            f'{field}: {path} has no list "categories"; valid is an annotation file in COCO\'s '
            'JSON format'
        )
    classes = _classes(dataset)
    missing = [name for name in classes or () if name not in names]
    if missing:
        raise ConfigError(
            f'{field}: {path} does not list the classes {", ".join(missing)} of '
            f'metainfo.classes; valid are its categories: {", ".join(names)}'
        )
    if classes and [name for name in names if name in classes] != list(classes):
        print_log(
            f'{field}: {path} lists the classes in another order than metainfo.classes; the data '
            'set numbers its labels by the file',
            'current',
            level=30,
        )


def category_names(path):
    """Category names of a COCO annotation file, without reading the rest of it.

    Args:
        path (str | Path): The JSON file.

    Returns:
        list[str] | None: The names in the order of the file; ``None`` where there is no list
        of categories.
    """
    if Path(path).stat().st_size == 0:
        return None
    with (
        open(path, 'rb') as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text,
    ):
        for match in re.finditer(rb'"categories"\s*:\s*(?=\[)', text):
            end = text.find(b']', match.end())
            while end != -1:
                try:
                    entries = json.loads(text[match.end() : end + 1])
                except ValueError:
                    end = text.find(b']', end + 1)
                    continue
                if all(isinstance(entry, dict) and 'name' in entry for entry in entries):
                    return [entry['name'] for entry in entries]
                break
    return None


def _classes(dataset):
    """The class names that a data set's config states, or its class's own."""
    metainfo = dataset.get('metainfo') or {}
    names = metainfo.get('classes') if isinstance(metainfo, dict) else None
    if names is None:
        from mmengine.registry import DATASETS

        scope = dataset.get('_scope_', 'mmdet')
        name = str(dataset.get('type', ''))
        cls = DATASETS.get(name if '.' in name else f'{scope}.{name}')
        names = getattr(cls, 'METAINFO', {}).get('classes')
    return [names] if isinstance(names, str) else names


def _classes_of_data(cfg):
    for loader in DATALOADERS:
        if cfg.get(loader):
            for dataset, _ in _datasets(cfg[loader].get('dataset'), loader):
                return _classes(dataset)
    return None


def _check_class_count(model, classes):
    for name, module in model.named_modules():
        count = getattr(module, 'num_classes', None)
        if not isinstance(count, int) or 'rpn' in name or not name.endswith('_head'):
            continue
        if count != len(classes):
            raise ConfigError(
                f'model.{name}.num_classes: {count}, but the data set has {len(classes)} classes '
                f'({", ".join(classes[:10])}{", ..." if len(classes) > 10 else ""}); valid: '
                f'{len(classes)}'
            )


def _check_teacher_classes(model, classes):
    taught = getattr(getattr(model, 'teacher', None), 'classes', None)
    if taught is None or tuple(taught) == tuple(classes):
        return
    extra = [name for name in taught if name not in classes]
    lacking = [name for name in classes if name not in taught]
    difference = '; '.join(
        f'{what}: {", ".join(names[:10])}'
        for what, names in (("only the teacher's", extra), ("only the data set's", lacking))
        if names
    )
    raise ConfigError(
        'model.teacher.checkpoint: the teacher learned other classes than the data set has, '
        f'{difference or "the same ones in another order"}; valid is a teacher of the classes '
        f'{", ".join(classes[:10])}{", ..." if len(classes) > 10 else ""}'
    )
