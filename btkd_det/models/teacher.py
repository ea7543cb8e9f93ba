"""The teacher: a frozen guest in the student's training."""

import contextlib
import copy
import inspect
import logging
from collections.abc import Sequence
from numbers import Integral
from pathlib import PurePath

import torch
from mmengine.config import Config, ConfigDict
from mmengine.hub import get_config
from mmengine.logging import print_log
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import DefaultScope
from torch import nn

from ..checkpoint import class_names, load_weights, weights_only
from ..config_file import read_config
from ..errors import BUILD_ERRORS, ConfigError
from ..new_style import node_with_names
from ..provenance import checkpoint_file, config_digest, file_digest
from ..registry import check_keys, suggest
from .rois import box_heads

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
        class_map (Sequence[int], optional): The teacher's index of each of the student's classes,
            where it learned them in another order or among others. ``tools/train.py`` finds it
            by the names of the classes.
        init_student (str, optional): ``'teacher'``: the student starts with the teacher's
            weights wherever name and shape agree, its backbone excepted; see
            :func:`btkd_det.models.inheritance.inherit`.
        evaluate_teacher (bool): Whether ``tools/train.py`` evaluates the teacher once on the
            validation data before training.

    Attributes:
        model (nn.Module): The model itself.
        classes (tuple[str] | None): Class names, where the checkpoint tells them; those of the
            student's classes where there is a ``class_map``.

    Raises:
        ConfigError: The config or checkpoint cannot be read or they do not belong together, or
            another argument is not what it can be.
    """

    def __init__(
        self,
        config,
        checkpoint=None,
        dtype=None,
        compile=False,
        class_map=None,
        init_student=None,
        evaluate_teacher=False,
    ):
        super().__init__()
        if dtype is not None and dtype not in DTYPES:
            raise ConfigError(
                f'teacher.dtype: {dtype!r} is not known; valid: None, {", ".join(DTYPES)}'
            )
        if init_student not in (None, 'teacher'):
            raise ConfigError(
                f"teacher.init_student: {init_student!r} is not known; valid: None, 'teacher'"
            )
        self.init_student = init_student
        self.evaluate_teacher = evaluate_teacher
        self.class_map = _parse_class_map(class_map)
        self.dtype = DTYPES.get(dtype)
        built = isinstance(config, nn.Module)
        self.checkpoint, self._config_digest = None, None
        if built:
            self.model = config
        else:
            model, scope = _read_config(config)
            # Before building, which changes what it is given.
            self._config_digest = config_digest(model)
            self.model = _build(model, scope)
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
            meta = load_weights(self.model, checkpoint, 'teacher.checkpoint')
            self.checkpoint = str(checkpoint)
            self.classes = class_names(meta)
            if self.classes and self.class_map is not None:
                self.classes = _chosen(self.classes, self.class_map)
        self.requires_grad_(False)
        self.eval()
        self._renormalize = None
        self.extract_feat = _compiled(getattr(self.model, 'extract_feat', None), compile)

    def train(self, mode=True):
        """Stay in eval mode, whatever is asked."""
        return super().train(False)

    def __deepcopy__(self, memo):
        """A copy of the student (EMA) shares its teacher: it is frozen, so nothing can differ."""
        return self

    @contextlib.contextmanager
    def at_work(self, device_type):
        """Within this context the teacher computes without gradients, in its own precision.

        Args:
            device_type (str): ``'cpu'`` or ``'cuda'``: where the inputs are.
        """
        precision = contextlib.nullcontext()
        if self.dtype is not None:
            precision = torch.autocast(
                device_type, self.dtype, enabled=self.dtype is not torch.float32
            )
        with torch.no_grad(), precision:
            yield

    def follow(self, preprocessor):
        """Learn how the student normalizes its images, so as to undo it.

        Args:
            preprocessor (nn.Module): The student's ``data_preprocessor``.
        """
        own = _normalization(getattr(self.model, 'data_preprocessor', None))
        its = _normalization(preprocessor)
        if own == its:
            self._renormalize = None
            return
        theirs, ours = (max(map(len, values[:2])) for values in (own, its))
        if theirs != ours and 1 not in (theirs, ours):
            raise ConfigError(
                f"teacher.config: the teacher's data_preprocessor normalizes {theirs} channels, "
                f"but the student's {ours}; valid is a teacher that sees as many channels"
            )
        self._renormalize = (*its, *own)

    def in_students_classes(self, scores):
        """The teacher's class scores in the order of the student's classes.

        Args:
            scores (Tensor): (R, C') or (R, C' + 1) with background last, C' the teacher's
                classes.

        Returns:
            Tensor: (R, C) or (R, C + 1). The same tensor where there is no ``class_map``.
        """
        if self.class_map is None:
            return scores
        background = [-1] if scores.shape[1] > self.num_classes else []
        return scores[:, self.class_map + background]

    @property
    def num_classes(self):
        """How many classes its head tells apart, before any ``class_map``."""
        return box_heads(getattr(self.model, 'roi_head', self.model))[0].num_classes

    def provenance(self):
        """What a file made of its answers has to say of it.

        Returns:
            dict: Entries of :data:`btkd_det.provenance.OF_TEACHER`: all of them, or those that
            are known of a model without a config or a checkpoint.
        """
        dtype = None if self.dtype is None else str(self.dtype).removeprefix('torch.')
        found = dict(dtype=dtype, class_map=self.class_map)
        if self._config_digest is not None:
            found['teacher_config'] = self._config_digest
        if self.checkpoint is not None and checkpoint_file(self.checkpoint).is_file():
            digest = file_digest(checkpoint_file(self.checkpoint))
            found.update(checkpoint=self.checkpoint, checkpoint_sha256=digest)
        return found

    def images(self, batch_inputs, shapes=None):
        """The student's input batch, normalized as the teacher was trained to see it.

        Args:
            batch_inputs (Tensor): (N, C, H, W), normalized by the student's preprocessor and
                padded with zeros at the right and the bottom.
            shapes (list[tuple[int, int]], optional): Height and width of each image without
                its padding, in pixels. The padding becomes the teacher's zeros again.

        Returns:
            Tensor: (N, C, H, W). The same tensor where both normalize alike.
        """
        if self._renormalize is None:
            return batch_inputs
        mean_s, std_s, rgb_s, mean_t, std_t, rgb_t = self._renormalize
        column = lambda values: batch_inputs.new_tensor(values).view(1, -1, 1, 1)
        images = batch_inputs * column(std_s) + column(mean_s)
        if rgb_s != rgb_t:
            images = images.flip(1)
        images = (images - column(mean_t)) / column(std_t)
        for image, (height, width) in zip(images, shapes or [], strict=bool(shapes)):
            image[:, height:] = 0
            image[:, :, width:] = 0
        return images


def _parse_class_map(class_map):
    if class_map is None:
        return None
    is_map = isinstance(class_map, Sequence) and not isinstance(class_map, str) and class_map
    is_index = lambda value: isinstance(value, Integral) and not isinstance(value, bool)
    if (
        not is_map
        or not all(is_index(value) and value >= 0 for value in class_map)
        or len(set(class_map)) != len(class_map)
    ):
        raise ConfigError(
            f"teacher.class_map: got {class_map!r}; valid: a list with the teacher's index of "
            "each of the student's classes, distinct whole numbers from 0 on, or None"
        )
    return [int(index) for index in class_map]


def _chosen(classes, class_map):
    if max(class_map) >= len(classes):
        # The model's head is held against the map where it is used; a file's names may be wrong.
        print_log(
            f'teacher.class_map: {class_map}, but teacher.checkpoint names only {len(classes)} '
            'classes; taken as it is stated',
            'current',
            logging.WARNING,
        )
        return None
    return tuple(classes[index] for index in class_map)


def _compiled(function, options):
    """What ``torch.compile`` makes of a function; the function itself where ``options`` is False.

    Raises:
        ConfigError: ``options`` is neither a bool nor a dict of arguments that it takes.
    """
    known = [name for name in inspect.signature(torch.compile).parameters if name != 'model']
    if not isinstance(options, (bool, dict)):
        raise ConfigError(
            f'teacher.compile: got {options!r}; valid: True, False, or a dict of arguments of '
            f'torch.compile ({", ".join(known)})'
        )
    if options is False:
        return function
    options = {} if options is True else {k: v for k, v in options.items() if k != '_scope_'}
    for key in options:
        if key not in known:
            raise ConfigError(
                f'teacher.compile: unknown key {key!r}{suggest(key, known)}; valid keys: '
                f'{", ".join(known)}'
            )
    try:
        return torch.compile(function, **options)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(f'teacher.compile: got {options}: {error}') from error


def build_teacher(teacher):
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


def pretrained_address(config):
    """Where the model zoo keeps the weights of a config of an installed package.

    Args:
        config (str): ``'mmdet::...'``.

    Returns:
        str: An http(s) address.

    Raises:
        ConfigError: The config is of no package, or the zoo lists no weights for it.
    """
    if not isinstance(config, str) or '::' not in config:
        raise ConfigError(
            "teacher.checkpoint: 'pretrained' needs a config of an installed package, such as "
            f"teacher.config='mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py', got {config!r}"
        )
    read_config(config, 'teacher.config')
    try:
        address = get_config(config, pretrained=True).get('model_path')
    except AssertionError:
        address = None
    if not address:
        raise ConfigError(
            f'teacher.checkpoint: the model zoo lists no weights for {config!r}; give '
            'the path of a checkpoint'
        )
    return address


def digest_of_config(config):
    """The digest of a teacher's config; see :func:`btkd_det.provenance.config_digest`.

    Args:
        config (str | dict): As ``teacher.config``.

    Returns:
        str: SHA-256 in hexadecimal.

    Raises:
        ConfigError: It cannot be read.
    """
    return config_digest(_read_config(config)[0])


def _read_config(config):
    """The ``model`` part of what the user gave, and the registry scope it is meant for."""
    if isinstance(config, (str, PurePath)):
        config = read_config(config, 'teacher.config')
    if not isinstance(config, (dict, Config)):
        raise ConfigError(f'teacher.config: expected a path or a dict, got {config!r}')
    scope = config.get('default_scope')
    model = config.get('model', config)
    if 'type' not in model:
        raise ConfigError(
            f"teacher.config: no 'model' with a 'type' in it; its keys are {', '.join(config)}"
        )
    model = ConfigDict(copy.deepcopy(node_with_names(model)))
    if 'data_preprocessor' in config and 'model' in config:
        model.setdefault('data_preprocessor', config['data_preprocessor'])
    return model, scope


def _build(model, scope):
    _drop_initialization(model)
    # A distilled student can be the next student's teacher; its own teacher stays at home.
    if str(model['type']).startswith('btkd_det.'):
        # None: an empty dict would be merged into what is there.
        model.update(teacher=None, distill=None)
    if scope is None and DefaultScope.get_current_instance() is None:
        scope = 'mmdet'
    try:
        # A model may read checkpoints of its own while it is built.
        with weights_only(), MMENGINE_MODELS.switch_scope_and_registry(scope) as registry:
            return registry.build(model)
    except ConfigError:
        raise
    except BUILD_ERRORS as error:
        raise ConfigError(f'teacher.config: the model cannot be built: {error}') from error


def _drop_initialization(node):
    """Take out every ``init_cfg``: the checkpoint gives all weights, so none is downloaded."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == 'init_cfg':
                node[key] = None
            else:
                _drop_initialization(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            _drop_initialization(value)


def _normalization(preprocessor):
    """Mean and deviation, of each channel or one of all; whether BGR becomes RGB before that."""
    # MMPretrain's preprocessor for classifiers has another name for it than all others.
    to_rgb = getattr(preprocessor, 'to_rgb', False)
    to_rgb = getattr(preprocessor, '_channel_conversion', to_rgb)
    if not getattr(preprocessor, '_enable_normalize', False):
        return (0.0,), (1.0,), to_rgb
    mean, std = (tuple(value.flatten().tolist()) for value in (preprocessor.mean, preprocessor.std))
    # One value of all channels alike, or the same one written for each.
    short = lambda values: values[:1] if len(set(values)) == 1 else values
    return short(mean), short(std), to_rgb
