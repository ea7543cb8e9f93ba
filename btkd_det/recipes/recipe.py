"""A whole config from a data set, two networks and a method."""

import copy
import math
from pathlib import Path

from mmengine.config import Config

from ..errors import ConfigError
from ..registry import suggest
from .config_text import file_name
from .data import loaders, preprocessor
from .folder import of_folder
from .methods import METHODS, PLAIN, find_method, losses_at_logits, methods_with
from .protocols import find_protocol


def recipe(
    dataset,
    teacher=None,
    student=None,
    method='student',
    *,
    protocol='common',
    data='files',
    epochs=None,
    batch_size=None,
    gpus=1,
    temperature=None,
    cache=None,
    views=None,
    classes=None,
    data_root=None,
    teacher_checkpoint=None,
):
    """The config of a training, as ``tools/train.py`` takes it.

    Args:
        dataset (str): ``'cifar10'``, ``'cifar100'``, ``'tiny_imagenet'``, ``'imagenet'``, or
            ``'folder'``: one's own images below ``data_root``, see
            :func:`~btkd_det.recipes.folder.of_folder`.
        teacher (str, optional): Name of the teacher's network, any of the data set's: the pairs of
            the literature are presets. The method ``'student'`` does not
            read it.
        student (str, optional): Name of the student's. The method ``'teacher'`` does not read it.
        method (str): A key of :data:`METHODS`. ``'student'``, the default, and ``'teacher'``
            train that one network alone.
        protocol (str): ``'common'``, or ``'btkd'``, the one of BTKD's authors for CIFAR.
        data (str): ``'files'``: images go through mmpretrain's pipeline one by one;
            ``'memory'``: ``btkd_det.InMemoryImages``.
        epochs (int, optional): Train for so many instead of the protocol's; milestones and
            warm-up scale with it. IKD needs more than the one in which it collects.
        batch_size (int, optional): Images of a step, of all processes together, instead of the
            protocol's; the learning rate of ImageNet scales with it, that of the others does not.
        gpus (int): Processes that train together and share out each step's images.
        temperature (float, optional): Of KD, instead of the protocol's, for the methods with KD.
        cache (str, optional): File of the teacher's logits, for ``teacher=dict(cache=...)``.
        views (int, optional): Fixed augmented views of each image, as the cache has them; with
            ``data='memory'``.
        classes (int, optional): Keep so many classes alone; with ``data='memory'``.
        data_root (str, optional): Folder of the data. Defaults to the one that the data set's
            environment variable names, or else to one below ``data/``.
        teacher_checkpoint (str, optional): Defaults to where ``tools/train.py`` leaves the
            teacher of its own recipe; on ImageNet to mmpretrain's weights of that network. For
            the methods with a teacher.

    Returns:
        Config: A new one in each call.

    Raises:
        ConfigError: A name or a value is not valid, or the options do not go together.
    """
    plan = find_protocol(dataset, protocol)
    if dataset == 'folder':
        plan = plan._replace(images=of_folder(data_root))
    row = find_method(method)
    _check_pair(plan, teacher, student, method)
    _check_options(epochs=epochs, batch_size=batch_size, gpus=gpus, views=views)
    _check_collecting(epochs, row, method)
    _check_temperature(temperature, method)
    _check_teacherless(method, cache=cache, teacher_checkpoint=teacher_checkpoint)
    _check_cache(cache, views, data)
    name = teacher if method == 'teacher' else student
    num_classes = _class_count(plan.images, classes)
    root = data_root or plan.images.folders()[1]
    batch_size = batch_size or plan.batch_size
    if batch_size % gpus:
        raise ConfigError(f'gpus: {gpus!r} do not divide batch_size {batch_size}')
    train, test = loaders(plan.images, root, batch_size // gpus, data, classes, views)
    model = plan.network(name, num_classes)
    topk = (1, 5) if num_classes > 5 else (1,)
    normalization = preprocessor(plan.images, num_classes)
    if method not in PLAIN:
        model.update(type='btkd_det.DistilledImageClassifier')
        model['head']['loss']['loss_weight'] = plan.balance[0] if row.balanced else 1.0
        model['teacher'] = _teacher(dataset, protocol, teacher, num_classes)
        if teacher_checkpoint is not None:
            model['teacher'].update(checkpoint=teacher_checkpoint)
        if cache is not None:
            model['teacher'].update(cache=cache)
        changes = _changes(plan, row, student, temperature)
        model['distill'] = dict(logits=losses_at_logits(row, num_classes, changes))
    return Config(
        dict(
            default_scope='mmpretrain',
            custom_imports=dict(imports=['btkd_det']),
            data_root=root,
            data_preprocessor=normalization,
            model=model,
            train_dataloader=train,
            val_dataloader=test,
            test_dataloader=copy.deepcopy(test),
            val_evaluator=dict(type='Accuracy', topk=topk),
            test_evaluator=dict(type='Accuracy', topk=topk),
            **_schedule(plan, name, batch_size, epochs),
            **_runtime(),
        )
    )


def combinations(dataset, protocol='common'):
    """All that :func:`recipe` makes for a data set.

    Args:
        dataset (str): A key of :data:`DATASETS`.
        protocol (str): See :func:`recipe`.

    Returns:
        list[dict]: Arguments of :func:`recipe`: each network of a pair alone, then each method
        for each pair.

    Raises:
        ConfigError: See :func:`find_protocol`.
    """
    plan = find_protocol(dataset, protocol)
    where = dict(dataset=dataset, protocol=protocol)
    alone = dict.fromkeys(
        ('teacher', pair[0]) if role == 'teacher' else ('student', pair[1])
        for role in ('teacher', 'student')
        for pair in plan.pairs
    )
    return [dict(where, method=role, **{role: name}) for role, name in alone] + [
        dict(where, teacher=teacher, student=student, method=method)
        for teacher, student in plan.pairs
        for method in METHODS
        if method not in PLAIN
    ]


def trained_teacher(dataset, teacher, protocol='common', folder='work_dirs'):
    """The weights of a teacher that its own recipe trained for another number of epochs.

    Args:
        dataset, teacher, protocol: As for :func:`recipe`.
        folder (str | Path): Where ``tools/train.py`` makes its folders.

    Returns:
        str | None: The checkpoint of the most epochs; ``None`` where that of the protocol's own
        number of epochs is there, or none at all.
    """
    plan = find_protocol(dataset, protocol)
    stem = Path(file_name(dataset, teacher=teacher, method='teacher', protocol=protocol)).stem
    found = {
        int(path.stem.removeprefix('epoch_')): path
        for path in Path(folder, stem).glob('epoch_*.pth')
        if path.stem.removeprefix('epoch_').isdigit()
    }
    if not found or plan.epochs in found or teacher in plan.zoo:
        return None
    return found[max(found)].as_posix()


def scaled_milestones(milestones, total, epochs):
    """Milestones of a training that is shorter or longer than the one that they were made for.

    Args:
        milestones (Sequence[int]): Epochs, increasing.
        total (int): Epochs that they were made for.
        epochs (int): Epochs to train.

    Returns:
        list[int]: Whole epochs, halves rounded up. Several that fall together count once, and
        one at the very start or end not at all.
    """
    scaled = [int(milestone * epochs / total + 0.5) for milestone in milestones]
    return sorted({epoch for epoch in scaled if 0 < epoch < epochs})


def _teacher(dataset, protocol, name, num_classes):
    """The teacher, and where its weights are by default."""
    plan = find_protocol(dataset, protocol)
    if name in plan.zoo:
        return dict(config=plan.zoo[name], checkpoint='pretrained')
    stem = Path(file_name(dataset, teacher=name, method='teacher', protocol=protocol)).stem
    model = plan.network(name, num_classes, 'teacher')
    # All weights come from the checkpoint.
    model['head'].pop('init_cfg', None)
    return dict(
        config=dict(
            default_scope='mmpretrain',
            model=model,
            data_preprocessor=preprocessor(plan.images, num_classes),
        ),
        checkpoint=f'work_dirs/{stem}/epoch_{plan.epochs}.pth',
    )


def _changes(plan, row, student, temperature):
    """What the protocol and the user change of a method's losses, by type."""
    changes = copy.deepcopy(plan.losses)
    for kind, values in plan.losses_of.get(student, {}).items():
        changes.setdefault(kind, {}).update(values)
    kd = changes.setdefault('KDLoss', {})
    if row.balanced:
        kd['loss_weight'] = plan.balance[1]
    if temperature is not None:
        kd['temperature'] = temperature
    return changes


def _schedule(plan, name, batch_size, epochs):
    """Optimizer, learning rate over time, and loops."""
    epochs = epochs or plan.epochs
    optimizer = dict(plan.optimizer)
    optimizer['lr'] = plan.learning_rates.get(name, optimizer['lr'])
    if plan.scales_with_batch:
        optimizer['lr'] *= batch_size / plan.batch_size
    milestones = scaled_milestones(plan.milestones, plan.epochs, epochs)
    steps = [dict(type='MultiStepLR', by_epoch=True, milestones=milestones, gamma=0.1)]
    return dict(
        optim_wrapper=dict(type='OptimWrapper', optimizer=optimizer),
        param_scheduler=steps if milestones else [],
        train_cfg=dict(by_epoch=True, max_epochs=epochs, val_interval=1),
        val_cfg=dict(),
        test_cfg=dict(),
    )


def _runtime():
    """What has nothing to do with the task: logs, checkpoints, seed."""
    return dict(
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=100),
            # The last one is the one that the papers report.
            checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=1),
        ),
        env_cfg=dict(cudnn_benchmark=True),
        randomness=dict(seed=0),
        log_level='INFO',
        load_from=None,
        resume=False,
    )


def _class_count(images, classes):
    if classes is not None and classes not in range(2, images.num_classes + 1):
        raise ConfigError(f'classes: {classes!r}; valid: None or 2 to {images.num_classes}')
    return classes or images.num_classes


def _check_pair(plan, teacher, student, method):
    if method in PLAIN:
        name = teacher if method == 'teacher' else student
        if name not in plan.networks:
            raise ConfigError(
                f'{method}: no network {name!r}{suggest(name, plan.networks)}; valid: '
                f'{", ".join(plan.networks)}'
            )
        return
    for role, name in (('teacher', teacher), ('student', student)):
        if name not in plan.networks:
            raise ConfigError(
                f'{role}: no network {name!r}{suggest(name, plan.networks)}; valid: '
                f'{", ".join(plan.networks)}'
            )


def _check_options(**values):
    for field, value in values.items():
        if value is not None and (type(value) is not int or value < 1):
            raise ConfigError(f'{field}: {value!r}; valid: None or a whole number from 1')


def _check_collecting(epochs, row, method):
    """IKD speaks only when collecting is over; ``epochs`` are those of the user."""
    needed = max([loss.get('collect_epochs', 0) for loss in row.losses], default=0)
    if epochs is not None and needed and epochs <= needed:
        raise ConfigError(
            f'epochs: {epochs!r}, but the method {method!r} collects what the teacher says of '
            f'each class for collect_epochs={needed} and says nothing before; valid: more than '
            f'{needed}, or a method without IKD'
        )


def _check_temperature(temperature, method):
    if temperature is None:
        return
    valid = methods_with('KDLoss')
    if method not in valid:
        raise ConfigError(
            f'temperature: {temperature!r} is that of KD, which the method {method!r} does not '
            f'have; valid: None, or one of the methods {", ".join(valid)}'
        )
    number = isinstance(temperature, (int, float)) and not isinstance(temperature, bool)
    if not number or not 0 < temperature < math.inf:
        raise ConfigError(f'temperature: {temperature!r}; valid: None or a number above 0')


def _check_teacherless(method, **values):
    for field, value in values.items():
        if method in PLAIN and value is not None:
            raise ConfigError(
                f'{field}: {value!r}, but the method {method!r} has no teacher; valid: None, or '
                f'one of the methods {", ".join(name for name in METHODS if name not in PLAIN)}'
            )


def _check_cache(cache, views, data):
    if cache is not None and data == 'memory' and views is None:
        raise ConfigError(
            f"cache: {cache!r} with data='memory' also needs views=K, the number of augmented "
            'views that the cache has; without, the teacher would be asked of images that it has '
            'not seen'
        )
