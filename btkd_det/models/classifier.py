"""A distilled image classifier: MMPretrain's own, with a teacher beside it."""

import torch
from mmengine.registry import DefaultScope
from mmpretrain.models import ImageClassifier
from mmpretrain.models.heads import MultiLabelClsHead

from ..errors import ConfigError
from ..registry import MODELS, check_keys
from .cached_teacher import CachedTeacher
from .data_classes import FEATURES_ALONE
from .detector import outputs_of
from .distilled import Distilled, undisturbed_rng
from .probe import probed

MIXED = ('larger', 'drop')


@MODELS.register_module()
class DistilledImageClassifier(Distilled, ImageClassifier):
    """An image classifier of MMPretrain that learns from a teacher.

    The student runs once: what its backbone and its head give on the way to their own loss is
    noted. The teacher runs its backbone, neck and head once, on the same images, normalized as
    it was trained to see them; with ``teacher=dict(cache=...)`` it does not run at all.

    Sites: ``logits``, the head's class logits with the images' labels; ``features``, the maps
    that the backbone gives, each of its ``out_indices`` (often the last map alone).

    Mixup and CutMix give an image two labels, and the judge needs one. ``mixed='larger'`` takes
    the class of the larger share (at equal shares the class of the lower number);
    ``mixed='drop'`` leaves images of more than one class out of all distillation losses, as if
    the batch had only the others. Dropping waits for the device once a step, to learn how many
    are left: a weight of 0 would not be exact for losses that count or compare rows.

    Args:
        *args, **kwargs: As ``mmpretrain.models.ImageClassifier``.
        teacher (dict): See :class:`btkd_det.models.Teacher`, whose config is a classifier's, or
            ``dict(cache=FILE)``, see :class:`btkd_det.models.CachedTeacher`.
        distill (dict): Site name to a loss, a list of losses, or a dict of ``losses`` and
            options; see :class:`btkd_det.models.sites.Site`.
        mixed (str): ``'larger'`` or ``'drop'``. Defaults to ``'larger'``.

    Raises:
        ConfigError: See :class:`Distilled`; also where teacher and student do not tell the same
            number of classes apart, a model does not give what a site needs, a loss needs what
            a classifier does not have (boxes, a gate), or a cache cannot serve the sites.
    """

    sites = {'logits': 'LogitLoss', 'features': 'FeatureLoss'}

    def __init__(self, *args, mixed='larger', **kwargs):
        if mixed not in MIXED:
            raise ConfigError(f'mixed: got {mixed!r}; valid: {", ".join(map(repr, MIXED))}')
        super().__init__(*args, **kwargs)
        self.mixed = mixed
        if self.distill:
            self._check_losses()
            if isinstance(self.teacher, CachedTeacher):
                self._check_cache()
            self._fit()

    def build_teacher(self, teacher):
        """The teacher that runs, or with the key ``cache`` the one that has run before."""
        if isinstance(teacher, dict) and 'cache' in teacher:
            check_keys(CachedTeacher, teacher, 'teacher')
            return CachedTeacher(**{k: v for k, v in teacher.items() if k != '_scope_'})
        scope = None if DefaultScope.get_current_instance() else 'mmpretrain'
        with DefaultScope.overwrite_default_scope(scope):
            return super().build_teacher(teacher)

    def loss(self, inputs, data_samples):
        """The plain classifier's losses, and the distillation's beside them.

        Args:
            inputs (Tensor): (N, 3, H, W).
            data_samples (list[DataSample]): With ``gt_label``, or ``gt_score`` where labels are
                mixed.

        Returns:
            dict[str, Tensor]: The plain classifier's entries first, then
            ``distill.<site>.<entry>``. With any site, a head's entry ``loss`` is called
            ``loss_cls``: MMEngine logs the sum of all under ``loss``.
        """
        if not self.distill:
            return super().loss(inputs, data_samples)
        speaking = self.distill.speaking()
        if not speaking:
            own = _with_room_for_the_sum(super().loss(inputs, data_samples))
            return {**own, **self.distill.silence()}
        with outputs_of(self, 'backbone') as maps, outputs_of(self, 'head') as logits:
            losses = _with_room_for_the_sum(super().loss(inputs, data_samples))
        labels, mixed = single_labels(data_samples)
        said = self._ask_teacher(inputs, data_samples, speaking)
        seen = dict(labels=labels.to(inputs.device), features=maps[-1], logits=logits[-1])
        if self.mixed == 'drop' and mixed is not None:
            seen, said = _without(mixed, seen), _without(mixed, said)
        if 'logits' in speaking:
            losses |= self.distill.evaluate(
                'logits', seen['logits'], said['logits'], seen['labels']
            )
        if 'features' in speaking:
            losses |= self._at_features(seen['features'], said['features'])
        return {**losses, **self.distill.silence()}

    def _ask_teacher(self, inputs, data_samples, speaking):
        """What the teacher says at each speaking site, by the site's name."""
        guest = self.teacher
        if isinstance(guest, CachedTeacher):
            return dict(logits=guest.logits_of(data_samples, inputs.device))
        with guest.at_work(inputs.device.type):
            return look(guest, guest.images(inputs), speaking)

    def _at_features(self, student, teacher):
        """The entries of ``features``; parameters take part even where no row is left."""
        entries = self.distill.evaluate('features', student, teacher)
        learned = list(self.distill['features'].parameters())
        if len(student[0]) or not learned:
            return entries
        # Distributed training waits for the gradient of every adapter.
        first = next(iter(entries))
        return {**entries, first: entries[first] + sum(p.sum() for p in learned) * 0}

    def _check_losses(self):
        if 'logits' in self.distill and isinstance(self.head, MultiLabelClsHead):
            raise ConfigError(
                f'distill.logits: {type(self.head).__name__} gives an image several labels, and '
                'the losses need one; valid is a head for one label, such as LinearClsHead'
            )
        for site in self.distill:
            for loss in self.distill[site]:
                name = type(loss).__name__
                if getattr(loss, 'gate', None):
                    raise ConfigError(
                        f'distill.{site}.gate: {loss.gate!r} of {name} needs the boxes of a '
                        'detector; valid in a classifier: None'
                    )
                judge = getattr(loss, 'judge', 'class')
                if judge != 'class':
                    raise ConfigError(
                        f'distill.{site}.judge: {judge!r} of {name} needs the boxes of a detector; '
                        "valid in a classifier: 'class'"
                    )

    def _check_cache(self):
        if 'features' in self.distill:
            raise ConfigError(
                'distill.features: teacher.cache holds logits alone; valid with a cache is the '
                'site logits, or give teacher=dict(config=..., checkpoint=...)'
            )
        if getattr(self.data_preprocessor, 'batch_augments', None) is not None:
            raise ConfigError(
                'teacher.cache: holds what the teacher says of single images, but train_cfg or '
                'data_preprocessor.batch_augments mixes them; valid is a cache without batch '
                'augmentation, or teacher=dict(config=..., checkpoint=...)'
            )

    def _fit(self):
        """Hold student and teacher against each other, and prepare the losses for their shapes.

        Raises:
            ConfigError: They do not go together.
        """
        training = self.training
        self.eval()
        with undisturbed_rng(), torch.no_grad():
            student, teacher = self._probe()
            if 'logits' in self.distill:
                self._check_classes(student['logits'], teacher['logits'])
            if 'features' in self.distill:
                self._fit_features(student['features'], teacher['features'])
        self.train(training)

    def _probe(self):
        """What the sites of both models see of a black image, each a dict by site."""
        models = dict(model=self)
        if not isinstance(self.teacher, CachedTeacher):
            models['teacher.config'] = self.teacher.model
        # Two images: LeNet drops the dimension of a single one.
        answers, image = probed(
            models, lambda model, image: look_at(model, image, self.distill), count=2
        )
        for name, answer in zip(models, answers, strict=True):
            _check_answer(answer, name)
        if len(answers) == 1:
            answers.append(dict(logits=image.new_zeros(1, self.teacher.num_classes)))
        return answers

    def _fit_features(self, student, teacher):
        """Tell the losses the shapes of the maps, given for one image each."""
        shapes = [[tuple(part.shape[1:]) for part in maps] for maps in (student, teacher)]
        for loss in self.distill['features']:
            try:
                loss.fit(*shapes)
            except ConfigError as error:
                raise ConfigError(f'distill.features.{error}') from error

    def _check_classes(self, student, teacher):
        """Hold the class counts of student, teacher and losses against each other."""
        count, taught = student.shape[1], teacher.shape[1]
        chosen = self.teacher.class_map
        if chosen is not None and not all(0 <= index < taught for index in chosen):
            raise ConfigError(
                f'teacher.class_map: {chosen!r} does not go with the {taught} classes of the '
                f'teacher; valid are numbers from 0 to {taught - 1}'
            )
        said = taught if chosen is None else len(chosen)
        if said != count:
            raise ConfigError(
                f'teacher: tells {said} classes apart, but the student {count}; valid is a '
                "teacher of the student's classes, a teacher.class_map that finds the student's "
                f"among the teacher's, {FEATURES_ALONE}"
            )
        for loss in self.distill['logits']:
            if getattr(loss, 'num_classes', count) != count:
                raise ConfigError(
                    f'distill.logits.num_classes: {loss.num_classes} of {type(loss).__name__}, '
                    f'but the student tells {count} classes apart; valid: {count}'
                )


def _with_room_for_the_sum(losses):
    return {'loss_cls' if name == 'loss' else name: value for name, value in losses.items()}


def single_labels(data_samples):
    """One label for each image, and which images have more than one.

    Args:
        data_samples (list[DataSample]): With ``gt_score``, (C,) shares that sum to 1, or with
            ``gt_label``, (1,).

    Returns:
        tuple[Tensor, Tensor | None]: Class of the largest share, (N,), and whether an image has
        shares of several classes, (N,) bool; None where no sample has shares.
    """
    if 'gt_score' not in data_samples[0]:
        return torch.cat([sample.gt_label for sample in data_samples]), None
    shares = torch.stack([sample.gt_score for sample in data_samples])
    return shares.argmax(dim=1), (shares > 0).sum(dim=1) > 1


def look(teacher, images, sites):
    """What a teacher says of images at the given sites, in the student's classes.

    Args:
        teacher (Teacher): Of a classifier.
        images (Tensor): (N, 3, H, W), normalized for the teacher.
        sites (Container[str]): ``'logits'``, ``'features'`` or both.

    Returns:
        dict: ``logits``, (N, C), and ``features``, a tuple of (N, C, H, W).
    """
    answer = look_at(teacher.model, images, sites, teacher.extract_feat)
    if 'logits' in answer and teacher.class_map is not None:
        answer['logits'] = answer['logits'][:, teacher.class_map]
    return answer


def look_at(model, images, sites, extract_feat=None):
    """As :func:`look`, of any classifier and in its own classes.

    A classifier without the parts ``backbone`` and ``head``, such as MMPretrain's
    ``TimmClassifier``, gives logits alone.
    """
    if not hasattr(model, 'backbone'):
        if 'features' in sites:
            raise ConfigError(
                f'distill.features: {type(model).__name__} has no backbone whose maps could be '
                'taken; valid is the site logits, or an ImageClassifier'
            )
        return dict(logits=model(images))
    answer = {}
    maps = (extract_feat or model.extract_feat)(images, stage='backbone')
    if 'features' in sites:
        answer['features'] = maps
    if 'logits' in sites:
        answer['logits'] = model.head(model.neck(maps) if model.with_neck else maps)
    return answer


def _check_answer(answer, field):
    """Raise a ConfigError where a model does not give what a site compares."""
    logits, maps = answer.get('logits'), answer.get('features', ())
    if 'logits' in answer and not (isinstance(logits, torch.Tensor) and logits.ndim == 2):
        raise ConfigError(
            f'{field}.head: gives no single set of class logits, (N, C), for the site logits; '
            'valid is a head for one label, such as LinearClsHead'
        )
    if any(not isinstance(part, torch.Tensor) or part.ndim != 4 for part in maps):
        raise ConfigError(
            f'{field}.backbone: gives no maps of (N, C, H, W) for the site features; valid is a '
            "backbone that does, for transformers often with out_type='featmap'"
        )


def _without(mixed, parts):
    """Tensors, and tuples of tensors, without the rows of mixed labels, by name."""
    rows = (~mixed).nonzero().squeeze(1)
    take = lambda value: value.index_select(0, rows.to(value.device))
    return {
        name: take(value) if isinstance(value, torch.Tensor) else tuple(map(take, value))
        for name, value in parts.items()
    }
