"""A whole config from a data set, two networks and a method."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..errors import ConfigError
from .checks import (
    check_cache,
    check_collecting,
    check_options,
    check_pair,
    check_teacherless,
    check_temperature,
    class_count,
)
from .config_text import file_name
from .data import loaders, preprocessor
from .folder import of_folder
from .methods import METHODS, PLAIN, find_method, losses_at_logits
from .protocols import find_protocol


def recipe(
    dataset: str,
    teacher: str | None = None,
    student: str | None = None,
    method: str = 'student',
    *,
    protocol: str = 'common',
    data: str = 'files',
    epochs: int | None = None,
    batch_size: int | None = None,
    gpus: int = 1,
    temperature: float | None = None,
    cache: str | None = None,
    views: int | None = None,
    classes: int | None = None,
    data_root: str | None = None,
    teacher_checkpoint: str | None = None,
) -> Config:
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
    check_pair(plan, teacher, student, method)
    check_options(epochs=epochs, batch_size=batch_size, gpus=gpus, views=views)
    check_collecting(epochs, row, method)
    check_temperature(temperature, method)
    check_teacherless(method, cache=cache, teacher_checkpoint=teacher_checkpoint)
    check_cache(cache, views, data)
    name = teacher if method == 'teacher' else student
    num_classes = class_count(plan.images, classes)
    root = data_root or plan.images.folders()[1]
    batch_size = batch_size or plan.batch_size
    if batch_size % gpus:
        raise ConfigError(f'gpus: {gpus!r} do not divide batch_size {batch_size}')
    train, test = loaders(plan.images, root, batch_size // gpus, data, classes, views)
    model = plan.network(name, num_classes)
    topk = (1, 5) if num_classes > 5 else (1,)
    if method not in PLAIN:
        given = dict(checkpoint=teacher_checkpoint, cache=cache)
        model['teacher'] = _teacher(dataset, protocol, teacher, num_classes)
        model['teacher'].update({k: v for k, v in given.items() if v is not None})
        _distill(model, plan, row, num_classes, _changes(plan, row, student, temperature))
    return Config(
        dict(
            default_scope='mmpretrain',
            custom_imports=dict(imports=['btkd_det']),
            data_root=root,
            data_preprocessor=preprocessor(plan.images, num_classes),
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


def combinations(dataset: str, protocol: str = 'common') -> list[dict[str, Any]]:
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


def trained_teacher(
    dataset: Any, teacher: Any, protocol: str = 'common', folder: str | Path = 'work_dirs'
) -> str | None:
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


def scaled_milestones(milestones: Sequence[int], total: int, epochs: int) -> list[int]:
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


def _teacher(dataset: Any, protocol: Any, name: str, num_classes: int) -> dict[str, Any]:
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


def _distill(model: Any, plan: Any, row: Any, num_classes: int, changes: Any) -> None:
    """Make a plain student's model learn from its teacher, in place."""
    model['type'] = 'btkd_det.DistilledImageClassifier'
    model['head']['loss']['loss_weight'] = plan.balance[0] if row.balanced else 1.0
    model['distill'] = dict(logits=losses_at_logits(row, num_classes, changes))


def _changes(plan: Any, row: Any, student: str | None, temperature: Any) -> Any:
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


def _schedule(plan: Any, name: str, batch_size: Any, epochs: Any) -> dict[str, Any]:
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


def _runtime() -> dict[str, Any]:
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
