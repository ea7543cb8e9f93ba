"""Whether teacher and training data name the same classes."""

from collections.abc import Mapping

from mmengine.visualization import Visualizer

from ..errors import ConfigError

#: Names that a message lists.
MOST = 10


def check_classes(teacher, classes, field='model.teacher'):
    """Refuse a teacher that knows the data's classes in another order, or others.

    Args:
        teacher (nn.Module | None): Its ``classes`` are those that it learned, in the student's
            order where it has a ``class_map``; ``None`` where its checkpoint does not tell.
        classes (Sequence[str]): Of the data.
        field (str): Where the teacher stands, for the message.

    Raises:
        ConfigError: They differ.
    """
    taught = getattr(teacher, 'classes', None)
    if taught is None or tuple(taught) == tuple(classes):
        return
    if set(classes) <= set(taught):
        own = getattr(teacher, 'class_map', None)
        indices = [list(taught).index(name) for name in classes]
        valid = indices if own is None else [own[i] for i in indices]
        raise ConfigError(
            f"{field}.class_map: {own}, which makes the teacher's classes {shown(taught)}, but the "
            f"data set's are {shown(classes)}; valid: class_map={valid}, which tools/train.py and "
            'btkd_det.distill find by themselves'
        )
    extra = [name for name in taught if name not in classes]
    lacking = [name for name in classes if name not in taught]
    difference = '; '.join(
        f'{what}: {shown(names)}'
        for what, names in (("only the teacher's", extra), ("only the data set's", lacking))
        if names
    )
    raise ConfigError(
        f'{field}.checkpoint: the teacher learned other classes than the data set has, '
        f'{difference}; valid is a teacher of the classes {shown(classes)}'
    )


def classes_of_run():
    """Class names of the training data, where MMEngine's runner has told them.

    Returns:
        tuple[str] | None: What the newest runner's visualizer was told; ``None`` without one.
    """
    if not Visualizer._instance_dict:
        return None
    return classes_of_meta(getattr(Visualizer.get_current_instance(), 'dataset_meta', None))


def classes_of_meta(meta):
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


def shown(names):
    """Class names for a message: the first :data:`MOST` of them."""
    return f'{", ".join(map(str, names[:MOST]))}{", ..." if len(names) > MOST else ""}'
