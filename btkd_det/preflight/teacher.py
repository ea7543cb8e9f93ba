"""Whether a teacher, its cache and its classes are of use for the data."""

from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import MODELS as MMENGINE_MODELS

from ..checkpoint import class_names, read_checkpoint
from ..config.named_types import is_type
from ..config.reading import head_of, metrics_of, type_name
from ..errors import ConfigError
from ..models.data_classes import check_classes, compares_classes
from ..models.teacher import build_teacher, pretrained_address
from ..teacher_cache import check_header, describe_data, is_augmented, read_cache
from .classes import check_label_order
from .data import all_datasets, classes_of_data
from .weights import check_named_classes


def map_classes(cfg: Config) -> None:
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
        check_label_order(cfg, all_datasets(cfg), cfg.get('default_scope') or 'mmdet')
        _map_classes(teacher, classes, 'model.teacher')


def _needs_classes(model: Any) -> bool:
    """Whether something is made of what the teacher says of single classes."""
    teacher = model.get('teacher')
    needed = any(teacher.get(key) for key in ('init_student', 'evaluate_teacher'))
    return needed or compares_classes(model.get('distill'))


def _map_classes(teacher: Any, classes: Any, field: str) -> None:
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


def check_cache(cfg: Config) -> None:
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


def check_agreement(cfg: Config) -> None:
    """Build the teacher that ``test_evaluator`` holds the model against, if any, and check it.

    Args:
        cfg (Config): The whole config, its data checked; the evaluator's teacher gets a
            ``class_map`` where it knows the data's classes in another order.

    Raises:
        ConfigError: The teacher does not build, is no classifier for a classifier or no detector
            for a detector, or tells other classes apart.
    """
    for evaluator in metrics_of(cfg.test_evaluator):
        kind = type_name(evaluator)
        if not is_type(evaluator, 'btkd_det', *_OUTPUT_OF):
            continue
        classes = classes_of_data(cfg)
        if classes is not None:
            _map_classes(evaluator['teacher'], classes, 'teacher')
        with MMENGINE_MODELS.switch_scope_and_registry(cfg.get('default_scope')):
            teacher = build_teacher(evaluator['teacher'])
        if classes is not None:
            check_classes(teacher, classes, 'teacher')
        head, its = head_of(cfg.model), _OUTPUT_OF[kind](teacher)
        own = head.get('num_classes') if isinstance(head, dict) else None
        if teacher.class_map is None and None not in (own, its) and own != its:
            raise ConfigError(
                f'teacher: tells {its} classes apart, but the student {own}; valid is a teacher '
                "of the student's classes"
            )


def _classifier_classes(teacher: Any) -> Any:
    head = getattr(teacher.model, 'head', None)
    if head is None and not hasattr(teacher.model, 'loss_module'):
        raise ConfigError(
            f'teacher.config: {type(teacher.model).__name__} is no classifier of MMPretrain'
        )
    return getattr(head, 'num_classes', None)


def _detector_classes(teacher: Any) -> Any:
    if not hasattr(teacher.model, 'extract_feat') or hasattr(teacher.model, 'head'):
        raise ConfigError(
            f'teacher.config: {type(teacher.model).__name__} is no detector of MMDetection'
        )
    return getattr(teacher, 'num_classes', None)


#: An evaluator that runs a teacher, to the number of classes that one of its kind tells apart.
_OUTPUT_OF = {'TeacherAgreement': _classifier_classes, 'FoundObjects': _detector_classes}
