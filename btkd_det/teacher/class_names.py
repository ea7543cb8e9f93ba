"""Whether teacher and training data name the same classes."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmengine.logging import print_log
from mmengine.visualization import Visualizer

from ..errors import ConfigError
from ..hints import Model
from ..registry import SITES
from .class_map import FEATURES_ALONE

#: Names that a message lists.
MOST = 10


def compares_classes(sites: Any) -> bool:
    """Whether the teacher's classes have to be the student's.

    Args:
        sites (Mapping | None): Site name to its losses, built or as a config states them.

    Returns:
        bool: True where a site compares classes, or a gate asks for the teacher's judgement.
    """
    items = sites.items() if hasattr(sites, 'items') else ()
    known = SITES.module_dict
    return any(
        (name in known and known[name].compares_classes)
        or any(_gate(loss) == 'teacher_right' for loss in _losses(losses))
        for name, losses in items
    )


def _losses(site: Any) -> Iterable[Any]:
    if isinstance(site, Mapping):
        site = site.get('losses', site)
    return [site] if isinstance(site, Mapping) or not isinstance(site, Iterable) else site


def _gate(loss: Any) -> str | None:
    return loss.get('gate') if isinstance(loss, Mapping) else getattr(loss, 'gate', None)


def check_distilled(model: Model, classes: Sequence[str]) -> None:
    """:func:`check_classes` of a model's teacher, where its classes matter.

    Args:
        model (nn.Module): Distilled or not.
        classes (Sequence[str]): Of the data.

    Raises:
        ConfigError: They differ.
    """
    if hasattr(model, 'check_class_means'):
        model.check_class_means(classes)
    teacher: Any = getattr(model, 'teacher', None)
    taught = getattr(teacher, 'classes', None)
    if taught is None:
        return
    # Weights of a head are taken over where the shapes agree.
    inherits = teacher.init_student and len(taught) == len(classes)
    if inherits or compares_classes(getattr(model, 'distill', None)):
        check_classes(teacher, classes)


def check_classes(teacher: Model, classes: Sequence[str], field: str = 'model.teacher') -> None:
    """Refuse a teacher that knows the data's classes in another order, or others.

    Args:
        teacher (nn.Module | None): Its ``classes`` are those that it learned, in the student's
            order where it has a ``class_map``; ``None`` where its checkpoint does not tell.
        classes (Sequence[str]): Of the data.
        field (str): Where the teacher stands, for the message.

    Raises:
        ConfigError: They differ, and no ``class_map`` says that they are meant so: then a
            warning does.
    """
    taught = getattr(teacher, 'classes', None)
    if taught is None or tuple(taught) == tuple(classes):
        return
    if getattr(teacher, 'class_map', None) is not None:
        print_log(
            f"{field}.class_map: {teacher.class_map} makes the teacher's classes "
            f"{listed(taught)}, and the data set's are {listed(classes)}; taken as it is stated",
            'current',
            logging.WARNING,
        )
        return
    if set(classes) <= set(taught):
        valid = [list(taught).index(name) for name in classes]
        raise ConfigError(
            f"{field}.class_map: None, which makes the teacher's classes {listed(taught)}, but the "
            f"data set's are {listed(classes)}; valid: class_map={valid}, which tools/train.py and "
            'btkd_det.distill find by themselves'
        )
    extra = [name for name in taught if name not in classes]
    lacking = [name for name in classes if name not in taught]
    difference = '; '.join(
        f'{what}: {listed(names)}'
        for what, names in (("only the teacher's", extra), ("only the data set's", lacking))
        if names
    )
    renamed = ''
    if len(taught) == len(classes):
        same = f'class_map={list(range(len(classes)))}' if len(classes) <= MOST else 'a class_map'
        renamed = f'; where only the names differ, {same} in {field}'
    raise ConfigError(
        f'{field}.checkpoint: the teacher learned other classes than the data set has, '
        f'{difference}; valid is a teacher of the classes {listed(classes)}, {FEATURES_ALONE}'
        f'{renamed}'
    )


def classes_of_run() -> tuple[str, ...] | None:
    """Class names of the training data, where an MMEngine runner knows them.

    Returns:
        tuple[str] | None: What the newest runner's visualizer holds; ``None`` without one.
    """
    if not Visualizer._instance_dict:
        return None
    return classes_of_meta(getattr(Visualizer.get_current_instance(), 'dataset_meta', None))


def classes_of_meta(meta: dict[str, Any] | list[dict[str, Any]] | None) -> tuple[str, ...] | None:
    """Class names in what a data set says of itself.

    Args:
        meta (dict | list[dict] | None): Its ``metainfo``; MMDetection's ``ConcatDataset`` has a
            list where its parts differ in anything.

    Returns:
        tuple[str] | None: The names, where there are any and all parts have the same.
    """
    if isinstance(meta, (list, tuple)):
        found = {classes_of_meta(part) for part in meta}
        return found.pop() if len(found) == 1 else None
    names = meta.get('classes') if isinstance(meta, Mapping) else None
    return (names,) if isinstance(names, str) else names and tuple(names)


def listed(names: Any) -> str:
    """Class names for a message: the first :data:`MOST` of them."""
    return f'{", ".join(map(str, names[:MOST]))}{", ..." if len(names) > MOST else ""}'
