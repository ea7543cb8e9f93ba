"""Everything that can be wrong before training starts, found before anything is written."""

import copy
import functools
from pathlib import Path

from mmengine.config import ConfigDict
from mmengine.logging import print_log
from mmengine.registry import MODELS as MMENGINE_MODELS

from ..checkpoint import class_names, load_weights, read_checkpoint, weights_only
from ..config_file import read_config, type_name
from ..datasets.coco_json import UnreadableError, category_names, read_json
from ..datasets.image_files import check_image_files
from ..errors import BUILD_ERRORS, ConfigError
from ..models.data_classes import check_classes, compares_classes, shown
from ..models.data_classes import check_distilled as check_distilled_classes
from ..models.teacher import build_teacher, pretrained_address
from ..teacher_cache import check_header, describe_data, is_augmented, kept_classes, read_cache
from .building import reason, unforeseen
from .classes import (
    check_label_order,
    dataset_class,
    is_coco,
    label_classes,
    numbers_by_file,
    stated_classes,
)
from .datasets import check_datasets
from .evaluators import VOC, check_evaluator, check_voc
from .images import on_bad_image
from .loaders import check_loader
from .options import check_distilled, check_first_keys, merge_options
from .registries import check_types, explain_type
from .samples import check_samples
from .shape import check_shape
from .training import check_surroundings, check_training, skip_bad_images
from .weights import check_named_classes
from .weights import check_weights as check_weights

__all__ = [
    'category_names',
    'check_agreement',
    'check_cache',
    'check_collecting',
    'check_data',
    'check_model',
    'check_samples',
    'check_surroundings',
    'check_training',
    'check_types',
    'check_weights',
    'load_config',
    'map_classes',
    'skip_bad_images',
    'unforeseen',
]
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
        ConfigError: There is no such config, or an option finds no place in it.
    """
    cfg = read_config(path, 'CONFIG')
    options = dict(options or {})
    check_first_keys(cfg, options, RUNNER_KEYS)
    check_distilled(cfg, options)
    if 'data_root' in options and 'data_root' in cfg:
        _move_data_root(cfg, str(cfg.data_root), str(options.pop('data_root')))
    merge_options(cfg, options, path)
    check_shape(cfg)
    return cfg


def check_data(cfg, loaders=DATALOADERS):
    """Check that the data sets' files are there and that the class names are in them.

    Args:
        cfg (Config): The whole config.
        loaders (Iterable[str]): The data loaders to look at.

    Raises:
        ConfigError: A missing root, annotation file or image folder, an annotation file of a
            COCO data set that is no COCO JSON, or a class that it does not list; files of an
            archive that are not where :func:`btkd_det.datasets.check_image_files` looks for
            them; workers for images that are in memory; damaged annotations or images; options of
            a data loader that PyTorch refuses, or that leave no batch; labels that mean different
            classes in two of the files, or others than the teacher's.

    Returns:
        dict[str, Contents]: What each loader holds, as far as it is known.
    """
    scope, found = cfg.get('default_scope') or 'mmdet', {}
    classes_of = functools.partial(label_classes, scope=scope)
    for loader in loaders:
        if not cfg.get(loader):
            continue
        _check_workers(cfg[loader], loader)
        parts = list(_datasets(cfg[loader].get('dataset'), f'{loader}.dataset'))
        for dataset, field in parts:
            _check_dataset(dataset, field, scope)
            if type_name(dataset) in VOC:
                check_voc(dataset, field, classes_of(dataset))
        check_evaluator(cfg, loader.removesuffix('_dataloader'))
        contents = check_datasets(parts, loader, scope, on_bad_image(cfg), classes_of)
        length = contents.length if _is_joined(cfg[loader].get('dataset')) else None
        contents.batches = check_loader(cfg[loader], loader, scope, length)
        found[loader] = contents
    check_label_order(cfg, _all_datasets(cfg, loaders), scope)
    return found


def _is_joined(dataset):
    """Whether a data set is as long as its parts are together."""
    while type_name(dataset) == 'ConcatDataset' and dataset.get('datasets'):
        dataset = dataset['datasets'][0]
    return 'dataset' not in dataset


def _check_workers(loader, field):
    workers = loader.get('num_workers', 0)
    if workers and _in_memory(loader.get('dataset')) is not None:
        raise ConfigError(
            f'{field}.num_workers: {workers}, but the images of btkd_det.InMemoryImages are in the '
            'memory of the main process; valid: num_workers=0, persistent_workers=False'
        )


def check_collecting(cfg):
    """Check that every ``IKDLoss`` ends collecting before training ends.

    Args:
        cfg (Config): The whole config.

    Raises:
        ConfigError: One would collect to the end and never speak.
    """
    for site, losses in (cfg.model.get('distill') or {}).items():
        losses = losses.get('losses', losses) if isinstance(losses, dict) else losses
        for loss in losses if isinstance(losses, (list, tuple)) else [losses]:
            if type_name(loss) == 'IKDLoss' and loss.get('class_means') is None:
                _check_collecting(loss, cfg.get('train_cfg') or {}, f'model.distill.{site}')


def _check_collecting(loss, train_cfg, field):
    name = 'collect_epochs' if loss.get('collect_iters') is None else 'collect_iters'
    needed = loss.get(name, 1)
    max_epochs, max_iters = train_cfg.get('max_epochs'), train_cfg.get('max_iters')
    if name == 'collect_iters':
        limit, said = max_iters, f'train_cfg.max_iters is {max_iters}'
    elif max_iters is None:
        limit, said = max_epochs, f'train_cfg.max_epochs is {max_epochs}'
    else:
        limit, said = 1, 'a training of max_iters is one epoch to MMEngine'
    if isinstance(needed, int) and isinstance(limit, int) and needed and needed >= limit:
        raise ConfigError(
            f'{field}.{name}: {needed} of IKDLoss, but {said}: it would collect to the end and '
            'never speak; valid: fewer, or collect_iters, or class_means, a file of '
            'tools/class_means.py'
        )


def map_classes(cfg):
    """Find the student's classes among the teacher's by name, where they differ in order.

    Sets ``model.teacher.class_map`` where the data's classes are the teacher's in another order
    or some of them; leaves everything else to :func:`check_model`.

    Args:
        cfg (Config): The whole config, its data checked; changed in place.

    Raises:
        ConfigError: The teacher's checkpoint cannot be read, or names and labels of the data are
            ordered differently.
    """
    teacher, classes = cfg.model.get('teacher'), classes_of_data(cfg)
    if teacher and classes and _needs_classes(cfg.model):
        check_label_order(cfg, _all_datasets(cfg), cfg.get('default_scope') or 'mmdet')
        _map_classes(teacher, classes, 'model.teacher')


def _needs_classes(model):
    """Whether something is made of what the teacher says of single classes."""
    teacher = model.get('teacher')
    asked = any(teacher.get(key) for key in ('init_student', 'evaluate_teacher'))
    return asked or compares_classes(model.get('distill'))


def _map_classes(teacher, classes, field):
    """Set ``class_map`` of a teacher's config where its classes hold the data's by name."""
    if any(key in teacher for key in ('class_map', 'cache')):
        return
    if not teacher.get('checkpoint') or 'config' not in teacher:
        return
    source = teacher['checkpoint']
    if source == 'pretrained':
        source = pretrained_address(teacher['config'])
    taught = class_names(read_checkpoint(source, f'{field}.checkpoint')[1])
    if taught is None or tuple(taught) == tuple(classes) or not set(classes) <= set(taught):
        return
    check_named_classes(taught, teacher['config'], field)
    teacher['class_map'] = [taught.index(name) for name in classes]
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
        ConfigError: The model does not build, its classes are not the data's or the teacher's,
            or the weights of an MMRazor model's teacher are not its own.
    """
    teacher = cfg.model.get('teacher')
    given = teacher is None or teacher.get('checkpoint') or teacher.get('cache')
    if cfg.model.get('distill') and not given:
        raise ConfigError(
            'model.teacher.checkpoint: missing; valid: the path of a checkpoint, an http(s) '
            "address, or 'pretrained' for a config of an installed package"
        )
    # MMRazor's key; it would go on with whatever weights fit, down to none.
    weights = cfg.model.get('teacher_ckpt')
    if weights:
        read_checkpoint(weights, 'model.teacher_ckpt')
    model = build_model(cfg)
    if weights and hasattr(model, 'teacher'):
        load_weights(model.teacher, weights, 'model.teacher_ckpt')
    classes = classes_of_data(cfg)
    if classes is not None:
        _check_class_count(model, classes)
        check_distilled_classes(model, classes)
    return model


def check_cache(cfg):
    """Check that the cache of a teacher's logits, if there is one, is of the training data.

    Args:
        cfg (Config): The whole config, its data checked.

    Raises:
        ConfigError: The cache cannot be read, or is of other data, classes or views.
    """
    path = (cfg.model.get('teacher') or {}).get('cache')
    if not path or not cfg.model.get('distill'):
        return
    _, header = read_cache(path, 'model.teacher.cache')
    check_header(header, describe_data(cfg), path, 'model.teacher.cache')
    if header['views'] is None and is_augmented(cfg):
        print_log(
            'teacher.cache: what the teacher said of the images without augmentation, but the '
            'student sees them augmented; tools/cache_teacher.py --views K caches augmented views',
            'current',
            level=30,
        )


def check_agreement(cfg):
    """Build the teacher of a ``TeacherAgreement`` in ``test_evaluator`` once, and check it.

    Args:
        cfg (Config): The whole config, its data checked; the evaluator's teacher gets a
            ``class_map`` where it knows the data's classes in another order.

    Raises:
        ConfigError: The teacher does not build, is no classifier, or tells other classes apart.
    """
    evaluators = cfg.test_evaluator
    for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
        if not type_name(evaluator).endswith('TeacherAgreement'):
            continue
        classes = classes_of_data(cfg)
        if classes is not None:
            _map_classes(evaluator['teacher'], classes, 'teacher')
        with MMENGINE_MODELS.switch_scope_and_registry(cfg.get('default_scope')):
            teacher = build_teacher(evaluator['teacher'])
        if classes is not None:
            check_classes(teacher, classes, 'teacher')
        own, its = (getattr(m, 'num_classes', None) for m in (cfg.model.head, _head(teacher)))
        if teacher.class_map is None and None not in (own, its) and own != its:
            raise ConfigError(
                f'teacher: tells {its} classes apart, but the student {own}; valid is a teacher '
                "of the student's classes"
            )


def _head(teacher):
    head = getattr(teacher.model, 'head', None)
    if head is None and not hasattr(teacher.model, 'loss_module'):
        raise ConfigError(
            f'teacher.config: {type(teacher.model).__name__} is no classifier of MMPretrain'
        )
    return head


def build_model(cfg):
    """Build ``cfg.model`` as MMEngine's runner does.

    Args:
        cfg (Config): The whole config.

    Returns:
        nn.Module: The model.

    Raises:
        ConfigError: What MMEngine's builders complain of, with the field ``model`` before it.
    """
    # A copy, for building takes keys out; not its to_dict(), which makes text of classes.
    model_cfg = ConfigDict(copy.deepcopy(cfg.model))
    if cfg.get('data_preprocessor') is not None:
        model_cfg.setdefault('data_preprocessor', cfg.data_preprocessor)
    try:
        scope = MMENGINE_MODELS.switch_scope_and_registry(cfg.get('default_scope'))
        # A model may read checkpoints while it is built.
        with weights_only(), scope as registry:
            return registry.build(model_cfg)
    except ConfigError as error:
        message = str(error)
        raise ConfigError(message if message.startswith('model') else f'model.{message}') from error
    except BUILD_ERRORS as error:
        explain_type(model_cfg, 'model', cfg.get('default_scope') or 'mmengine', error)
        raise ConfigError(f'model: cannot be built: {reason(error)}') from error


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
    if any(key in dataset for key in ('ann_file', 'data_root', 'data_prefix')):
        yield dataset, field


def _all_datasets(cfg, loaders=DATALOADERS):
    """The innermost data sets of some loaders, each with its place in the config."""
    return [
        found
        for loader in loaders
        if cfg.get(loader)
        for found in _datasets(cfg[loader].get('dataset'), f'{loader}.dataset')
    ]


def _check_dataset(dataset, field, scope):
    root = dataset.get('data_root') or ''
    if '://' in str(root) or check_image_files(dataset, field):
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
        if path.suffix == '.json' and is_coco(dataset_class(dataset, scope)):
            _check_categories(dataset, path, f'{field}.ann_file', scope)
    for place, folder in _image_folders(dataset).items():
        if not Path(root, folder).is_dir():
            raise ConfigError(
                f'{field}.{place}: no folder {Path(root, folder)}; valid is the '
                'folder of the images'
            )


def _check_categories(dataset, path, field, scope):
    try:
        names = category_names(path)
        if names is None:
            read_json(path)
    except UnreadableError as error:
        raise ConfigError(f'{field}: {path}: {error}') from error
    if names is None:
        raise ConfigError(
            f'{field}: {path} has no list "categories", each with a name; valid is an annotation '
            "file in COCO's JSON format"
        )
    classes = stated_classes(dataset, scope) or []
    missing = [name for name in classes if name not in names]
    if missing:
        raise ConfigError(
            f'{field}: {path} does not list the classes {shown(missing)} of '
            f'metainfo.classes; valid are its categories: {shown(names)}'
        )
    if numbers_by_file(dataset_class(dataset, scope)) and label_classes(dataset, scope) != classes:
        print_log(
            f'{field}: {path} lists the classes in another order than metainfo.classes; the data '
            'set numbers its labels by the file',
            'current',
            level=30,
        )


def _image_folders(dataset):
    """Folders below the data root by their place in the config: one, or a dict of several."""
    given = dataset.get('data_prefix') or {}
    if isinstance(given, str):
        return {'data_prefix': given}
    return {f'data_prefix.{k}': v for k, v in given.items() if isinstance(v, str) and v}


def classes_of_data(cfg):
    """Class names of a config's data in the order of the labels, or None where nothing tells."""
    scope = cfg.get('default_scope') or 'mmdet'
    for loader in DATALOADERS:
        if cfg.get(loader):
            for dataset, _ in _datasets(cfg[loader].get('dataset'), loader):
                names = label_classes(dataset, scope)
                return names and kept_classes(names, _in_memory(cfg[loader].get('dataset')))
    return None


def _in_memory(dataset):
    """The ``InMemoryImages`` among wrapped data sets, or None."""
    while isinstance(dataset, dict) and 'dataset' in dataset:
        if type_name(dataset) == 'InMemoryImages':
            return dataset
        dataset = dataset['dataset']
    return None


def _check_class_count(model, classes):
    for name, module in model.named_modules():
        count = getattr(module, 'num_classes', None)
        if not isinstance(count, int) or 'rpn' in name or not f'_{name}'.endswith('_head'):
            continue
        if count != len(classes):
            raise ConfigError(
                f'model.{name}.num_classes: {count}, but the data set has {len(classes)} classes '
                f'({shown(classes)}); valid: {len(classes)}'
            )
