"""The teacher: a frozen model beside the student's training."""

import contextlib
import copy
import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ..checkpoint import class_names, load_weights
from ..checks import check_choice, check_known_keys
from ..errors import ConfigError
from ..hints import Model
from ..provenance import checkpoint_file, config_digest, file_digest
from ..registry import check_keys
from .building import build_model, read_model
from .class_map import ClassMap
from .folding import FoldedFeatures
from .normalization import Renormalize
from .zoo import pretrained_address

DTYPES = {
    'float32': torch.float32,
    'float16': torch.float16,
    'bfloat16': torch.bfloat16,
}


class Teacher(nn.Module):
    """A frozen model that the student looks at and that never changes.

    It is always in eval mode (normalization, dropout and drop-path included), none of its
    parameters asks for a gradient, and copying the module that holds it, as an averaged (EMA)
    model does, shares it.

    Args:
        config (str | dict | nn.Module): A config file, a config of an installed package
            (``'mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py'``), a whole config as a
            dict, its ``model`` part alone, or a model that is built already.
        checkpoint (str, optional): A file, an http(s) address, or ``'pretrained'``: the model
            zoo's weights of a config of an installed package. ``None`` leaves the weights as
            they were initialized, with a warning: of use in tests only.
        dtype (str, optional): The precision that the teacher computes in: ``'float32'``,
            ``'float16'`` or ``'bfloat16'``. By default that of the student's training.
        compile (bool | dict): Whether ``torch.compile`` makes its backbone and neck faster, or
            the arguments for it.
        fuse (bool): Whether the batch normalization of its backbone and neck is folded into the
            convolutions before it, and on a GPU both compute with the channels last: the same maps
            to rounding. See :class:`btkd_det.teacher.folding.FoldedFeatures`.
        class_map (Sequence[int], optional): The teacher's index of each of the student's classes,
            where it learned them in another order or among others. ``tools/train.py`` finds it
            by the names of the classes.
        init_student (str, optional): ``'teacher'``: the student starts with the teacher's
            weights wherever name and shape agree, its backbone excepted; see
            :func:`btkd_det.teacher.inheritance.inherit`.
        evaluate_teacher (bool): Whether ``tools/train.py`` evaluates the teacher once on the
            validation data before training.

    Attributes:
        model (nn.Module): The model itself.
        classes (tuple[str] | None): Class names, where the checkpoint tells them; those of the
            student's classes where there is a ``class_map``.

    Raises:
        ConfigError: The config or checkpoint cannot be read or they do not belong together, or
            another argument is not what it can be.

    Examples:
        >>> import torch
        >>> from btkd_det.models import Teacher
        >>> teacher = Teacher(torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 3)))
        >>> any(parameter.requires_grad for parameter in teacher.model.parameters())
        False
        >>> teacher.train().model.training
        False
    """

    def __init__(
        self,
        config: Any,
        checkpoint: str | None = None,
        dtype: str | None = None,
        compile: bool | dict[str, Any] = False,
        fuse: bool = False,
        class_map: Sequence[int] | None = None,
        init_student: str | None = None,
        evaluate_teacher: bool = False,
    ) -> None:
        super().__init__()
        check_choice('teacher.dtype', dtype, (None, *DTYPES))
        check_choice('teacher.init_student', init_student, (None, 'teacher'))
        self.init_student = init_student
        self.evaluate_teacher = evaluate_teacher
        self.class_map = None if class_map is None else ClassMap(class_map)
        self.dtype = None if dtype is None else DTYPES[dtype]
        built = isinstance(config, nn.Module)
        self.checkpoint, self._config_digest = None, None
        if built:
            self.model = config
        else:
            model, scope = read_model(config)
            # Before building, which changes what it is given.
            self._config_digest = config_digest(model)
            self.model = build_model(model, scope)
        self.classes = None
        if checkpoint is None and not built:
            print_log(
                'teacher.checkpoint: none given, so the teacher knows nothing: its weights are '
                'random',
                'current',
                logging.WARNING,
            )
        elif checkpoint is not None:
            if checkpoint == 'pretrained':
                checkpoint = pretrained_address(config)
            meta = load_weights(self.model, checkpoint, 'teacher.checkpoint', compiled=True)
            self.checkpoint = str(checkpoint)
            self.classes = class_names(meta)
            if self.classes and self.class_map is not None:
                self.classes = self.class_map.names(self.classes)
        self.requires_grad_(False)
        self.eval()
        self._renormalize: Renormalize | None = None
        self._compile = compile
        self.extract_feat = _compiled(getattr(self.model, 'extract_feat', None), compile)
        check_choice('teacher.fuse', fuse, (False, True))
        if fuse:
            self.extract_feat = FoldedFeatures(self.model, self.extract_feat)

    def train(self, mode: bool = True) -> 'Teacher':
        """Stay in eval mode, whatever is asked."""
        return super().train(False)

    def __deepcopy__(self, memo: Any) -> 'Teacher':
        """A copy of the student (EMA) shares its teacher: it is frozen, so nothing can differ."""
        return self

    def separate(self) -> 'Teacher':
        """The same teacher once more, for a copy of the student that goes elsewhere.

        Returns:
            Teacher: With weights of its own.
        """
        twin = self.__class__.__new__(self.__class__)
        twin.__dict__.update(copy.deepcopy(self.__dict__, {id(self): twin}))
        if self._compile is not False:
            # What was compiled knows this model alone.
            compiled = _compiled(twin.model.extract_feat, self._compile)
            if isinstance(twin.extract_feat, FoldedFeatures):
                twin.extract_feat.extract_feat = compiled
            else:
                twin.extract_feat = compiled
        return twin

    def would_change(self, function: Callable[[Tensor], Tensor]) -> bool:
        """Whether ``function`` of ``_apply`` gives its weights another device or precision."""
        for weight in self.parameters():
            if weight.is_floating_point():
                applied = function(weight.data)
                return (applied.device, applied.dtype) != (weight.device, weight.dtype)
        return False

    def at_work(self, device_type: str) -> contextlib.AbstractContextManager:
        """Within this context the teacher computes without gradients, in its own precision.

        Args:
            device_type (str): ``'cpu'`` or ``'cuda'``: where the inputs are.
        """
        return torch.no_grad() if self.dtype is None else _in_precision(device_type, self.dtype)

    def follow(self, preprocessor: nn.Module) -> None:
        """Learn how the student normalizes its images, so as to undo it.

        Args:
            preprocessor (nn.Module): The student's ``data_preprocessor``.
        """
        own = getattr(self.model, 'data_preprocessor', None)
        renormalize = Renormalize(preprocessor, own)
        self._renormalize = renormalize if renormalize.needed else None

    def in_students_classes(self, scores: Tensor) -> Tensor:
        """The teacher's class scores in the order of the student's classes.

        Args:
            scores (Tensor): (R, C') or (R, C' + 1) with background last, C' the teacher's
                classes.

        Returns:
            Tensor: (R, C) or (R, C + 1). The same tensor where there is no ``class_map``.
        """
        return scores if self.class_map is None else self.class_map.scores(scores, self.num_classes)

    @property
    def num_classes(self) -> int:
        """How many classes its head tells apart, before any ``class_map``."""
        model: Model = getattr(self.model, 'roi_head', self.model)
        heads: Model = model.bbox_head if hasattr(model, 'bbox_head') else model.head
        # Of a cascade any: all its heads tell the same apart.
        head: Model = heads[0] if isinstance(heads, nn.ModuleList) else heads
        return head.num_classes

    def provenance(self) -> dict[str, Any]:
        """What a file made of its answers has to say of it.

        Returns:
            dict: Entries of :data:`btkd_det.provenance.OF_TEACHER`: all of them, or those that
            are known of a model without a config or a checkpoint.
        """
        dtype = None if self.dtype is None else str(self.dtype).removeprefix('torch.')
        found = dict(dtype=dtype, class_map=self.class_map and list(self.class_map))
        if self._config_digest is not None:
            found['teacher_config'] = self._config_digest
        if self.checkpoint is not None and checkpoint_file(self.checkpoint).is_file():
            digest = file_digest(checkpoint_file(self.checkpoint))
            found.update(checkpoint=self.checkpoint, checkpoint_sha256=digest)
        return found

    def features(self, batch_inputs: Tensor, samples: Sequence[Any]) -> Any:
        """What its ``extract_feat`` gives for the student's batch.

        Args:
            batch_inputs (Tensor): See :meth:`images`.
            samples (Sequence): The annotations, with ``img_shape``.

        Returns:
            Sequence[Tensor]: The teacher's maps.
        """
        shapes = [sample.img_shape[:2] for sample in samples]
        return self.extract_feat(self.images(batch_inputs, shapes))

    def images(self, batch_inputs: Tensor, shapes: list[tuple[int, int]] | None = None) -> Tensor:
        """The student's input batch, normalized as the teacher was trained to see it.

        Args:
            batch_inputs (Tensor): (N, C, H, W), normalized by the student's preprocessor and
                padded at the right and the bottom.
            shapes (list[tuple[int, int]], optional): Height and width of each image without
                its padding, in pixels. The padding becomes the teacher's again.

        Returns:
            Tensor: (N, C, H, W). The same tensor where both normalize alike.
        """
        if self._renormalize is None:
            return batch_inputs
        return self._renormalize(batch_inputs, shapes)


@contextlib.contextmanager
def _in_precision(device_type: str, dtype: torch.dtype) -> Iterator[None]:
    """Within this context nothing has a gradient, and the precision is this one."""
    autocast = torch.autocast(device_type, dtype, enabled=dtype is not torch.float32)
    with torch.no_grad(), autocast:
        yield


def _compiled(function: Any, options: Any) -> Any:
    """What ``torch.compile`` makes of a function; the function itself where ``options`` is False.

    Raises:
        ConfigError: ``options`` is neither a bool nor a dict of arguments that it takes.
    """
    known = [name for name in inspect.signature(torch.compile).parameters if name != 'model']
    if not isinstance(options, (bool, dict)):
        raise ConfigError(
            f'teacher.compile: {options!r}; valid: True, False, or a dict of arguments of '
            f'torch.compile ({", ".join(known)})'
        )
    if options is False:
        return function
    options = {} if options is True else {k: v for k, v in options.items() if k != '_scope_'}
    check_known_keys('teacher.compile', options, known)
    try:
        return torch.compile(function, **options)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(f'teacher.compile: {options}: {error}') from error


def build_teacher(teacher: dict[str, Any] | Teacher) -> Teacher:
    """The teacher that a config describes.

    Args:
        teacher (dict | Teacher): The arguments of :class:`Teacher`, or one that is built.

    Returns:
        Teacher: The teacher.

    Raises:
        ConfigError: It is neither, or a key is unknown or missing; see also :class:`Teacher`.
    """
    if isinstance(teacher, Teacher):
        return teacher
    if not isinstance(teacher, dict):
        raise ConfigError(f'teacher: expected dict(config=..., checkpoint=...), got {teacher!r}')
    check_keys(Teacher, teacher, 'teacher')
    return Teacher(**teacher)
