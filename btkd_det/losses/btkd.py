"""BTKD: a curriculum from what the teacher knows to what it had to be told."""

import torch
from mmengine.dist import get_world_size
from torch import nn
from torch.nn import functional as F

from ..bias.curriculum import check_curriculum, coefficient, count_parts, curriculum
from ..bias.judge import judge_predicted
from ..bias.rectify import apply_rule, find_rule
from ..errors import ConfigError
from ..progress import training_progress
from ..registry import MODELS, build, unwritten
from .calibration import TeacherCalibration
from .label_noise import LabelNoise
from .logit_loss import LogitLoss, check_fraction
from .ranks import sum_over_ranks
from .reduction import count_rows
from .trust import FORMS, MeasuredTrust

JUDGES = ('class', 'class_and_box', 'object')
TRUSTS = (None, *FORMS)
#: A rate of the rule that is measured as training goes.
ESTIMATED = 'estimated'


@MODELS.register_module()
class BTKDLoss(LogitLoss):
    """Biased-teacher distillation around a host loss (AAAI 2025).

    Three steps that ``btkd_det.bias`` has one by one. *Judge*: a row is right where the
    teacher's first choice is the label. *Rectify*: the others get a target of their own.
    *Curriculum*: right rows count first, rectified ones later; the loss is
    ``(1 - gamma) * easy + gamma * hard``, where easy and hard are the host's means over the
    right and over the wrong rows. A part without rows is 0, where the published scripts give
    NaN. The host's ``loss_weight`` and warm-up count, as they do without BTKD.

    The loss logs ``right`` (share of right rows), ``easy``, ``hard`` and, where there is a
    schedule, ``gamma``; with trust also ``trust``, ``teacher_right`` and ``student_right``; and
    what it estimates, ``label_noise``, ``missed`` and ``teacher_scale``.

    Args:
        loss (dict | LogitLoss, optional): The host, any registered
            :class:`~btkd_det.losses.LogitLoss`. Defaults to
            ``dict(type='KDLoss', temperature=5.0)``, the paper's.
        rectify (str | dict): A rule of :func:`btkd_det.bias.rectify`, or
            ``dict(type=rule, option=value)``. ``'none'`` leaves the teacher as it is,
            ``'drop'`` gives its wrong rows the weight 0. ``label_noise`` and ``missed`` of
            ``'posterior'`` may be ``'estimated'``: measured as training goes, see
            :class:`~btkd_det.losses.label_noise.LabelNoise`. Defaults to ``'swap'``.
        space (str): ``'logits'``, or ``'probs'``: the rule works on the teacher's
            probabilities at temperature 1, and the host gets their logarithms as logits.
            Defaults to ``'logits'``, as published.
        schedule (str): ``'cosine'`` (the published code), ``'linear'`` or ``'none'``; see
            :func:`btkd_det.bias.curriculum`. Defaults to ``'cosine'``.
        normalize (str): ``'subset'``, as published, or ``'all'``. Defaults to ``'subset'``.
        trust (str, optional): None, ``'measured'`` or ``'relative'``: the term follows how
            often the teacher is right against the student; see
            :class:`~btkd_det.losses.trust.MeasuredTrust`. Ours. Defaults to None.
        loss_weight (float): Defaults to 1.0.
        eta (float, optional): Of ``'label_revision'``; its default if None.
        judge (str): ``'class'``, as published, or ``'class_and_box'``, in two-stage detectors: a
            foreground row is wrong also where the teacher's box overlaps the ground truth
            by less than ``iou_threshold``; or, in two-stage detectors too, ``'object'`` (ours): a
            row is wrong only where label and teacher name two different objects. Where either says
            background, mostly the RoI overlaps an object in part, and the teacher's doubt is what
            there is to learn. Defaults to ``'class'``.
        iou_threshold (float): See ``judge``. Defaults to 0.5.
        foreground_only (bool): Rows without an object count as right. Defaults to False.
        trust_gain (float): k of :class:`~btkd_det.losses.trust.MeasuredTrust`. Defaults
            to 20.
        trust_momentum (float): Its momentum. Defaults to 0.99.
        trust_margin (float): Its margin, for ``'relative'``. Defaults to 0.2.
        give_back (bool): What trust takes from a row's term, the cross entropy of the student with
            the label gets, at temperature 1: ``trust * host + (1 - trust) * CE``. For
            classifiers, whose own cross entropy was given less than its full weight; a detector's
            losses have theirs. Ours. Defaults to False.
        calibrate (bool): Scale the teacher's logits so that they fit the labels best, before
            anything else; see :class:`~btkd_det.losses.calibration.TeacherCalibration`. Ours.
            Defaults to False.

    Raises:
        ConfigError: A value is unknown or out of its range, the host does not build, or the
            rule is not defined on the space.
    """

    hosts = False

    def __init__(
        self,
        loss=None,
        rectify='swap',
        space='logits',
        schedule='cosine',
        normalize='subset',
        trust=None,
        loss_weight=1.0,
        *,
        eta=None,
        judge='class',
        iou_threshold=0.5,
        foreground_only=False,
        trust_gain=20.0,
        trust_momentum=0.99,
        trust_margin=0.2,
        give_back=False,
        calibrate=False,
    ):
        super().__init__(loss_weight)
        if loss is None:
            loss = {'type': 'KDLoss', 'temperature': 5.0}
        self.host = build(loss, field='loss', base=LogitLoss)
        if not self.host.hosts or unwritten(type(self.host)):
            raise ConfigError(
                f'loss: {type(self.host).__name__} cannot be the host of BTKDLoss, it does not '
                'compare a row of the student with one of the teacher; put it beside'
            )
        self.rule, self.rule_options = _parse_rule(rectify, space, eta)
        if space not in self.host.host_spaces:
            raise ConfigError(
                f'space: {space!r} hands the host log-probabilities of a softmax, which '
                f'{type(self.host).__name__} does not read; valid: '
                f'{", ".join(map(repr, self.host.host_spaces))}'
            )
        check_curriculum(schedule, normalize)
        _check_choice('judge', judge, JUDGES)
        _check_choice('trust', trust, TRUSTS)
        check_fraction(iou_threshold=iou_threshold)
        self.space = space
        self.schedule = schedule
        self.normalize = normalize
        self.judge = judge
        if judge == 'class':
            # Then nobody has to compute boxes.
            self.extra_inputs = tuple(n for n in self.extra_inputs if n != 'box_ious')
        self.iou_threshold = iou_threshold
        self.foreground_only = foreground_only
        self.noise = nn.ModuleDict(
            {name: LabelNoise() for name, value in self.rule_options.items() if value == ESTIMATED}
        )
        self.calibration = TeacherCalibration() if calibrate else None
        self.trust = None
        if trust is not None:
            self.trust = MeasuredTrust(trust_gain, trust_momentum, trust, trust_margin)
        if give_back and trust is None:
            raise ConfigError(
                'give_back: gives the label what trust takes from the teacher, and trust is None; '
                f'valid: give_back=False, or one of trust={", ".join(map(repr, FORMS))}'
            )
        self.give_back = give_back

    def per_row(
        self,
        student_logits,
        teacher_logits,
        labels,
        progress=None,
        foreground=None,
        box_ious=None,
        counted=None,
    ):
        """What each row costs, its weight in the curriculum times N included.

        Args:
            student_logits (Tensor): (N, C).
            teacher_logits (Tensor): (N, C).
            labels (Tensor): Class index of each row, (N,).
            progress (float | Tensor, optional): e / E, from 0 to 1. None asks the runner.
            foreground (Tensor, optional): Rows that show an object, (N,) bool. Read by
                ``foreground_only``, ``class_and_box`` and trust. None means all.
            box_ious (Tensor, optional): IoU of the teacher's box and the ground truth's, (N,),
                for ``class_and_box``.
            counted (Tensor, optional): Rows that count, (N,) bool: the others are in neither
                part, and N is without them. None means all.

        Returns:
            Tensor: (N,), whose mean over the rows that count is the loss without its weight.

        Raises:
            RuntimeError: The schedule needs ``progress``, and neither caller nor runner
                tells it.
            ValueError: ``class_and_box`` without ``box_ious``.
        """
        if progress is None and self.schedule != 'none':
            progress = training_progress()
        if self.calibration is not None:
            teacher_logits = self.calibration(teacher_logits, labels, counted)
        predicted = teacher_logits.argmax(dim=1)
        class_right = right = predicted == labels
        options = self._rule_options(student_logits, teacher_logits, predicted, labels, counted)
        if self.judge != 'class' or self.foreground_only:
            background = teacher_logits.shape[1] - 1 if self.judge == 'object' else None
            right = self._judge(predicted, labels, box_ious, foreground, background)
            predicted = torch.where(right, labels, predicted)
        target = self._target(teacher_logits, labels, predicted, options)
        rows = self.host.rows(student_logits, target, labels, counted)
        counts = self._part_sizes(right, rows.dtype, counted)
        weights = curriculum(
            right,
            progress,
            self.schedule,
            self.normalize,
            drop_wrong=self.rule.drops_wrong,
            total=self._total(rows, counted),
            counts=counts,
            dtype=rows.dtype,
        )
        if counted is not None:
            rows = rows.masked_fill(~counted, 0)
        gamma = None if self.schedule == 'none' else coefficient(progress, self.schedule)
        self.log_vars = self._seen(rows.detach(), right, counts, gamma, counted)
        self.log_vars.update({name: options[name].detach() for name in self.noise})
        if self.calibration is not None:
            self.log_vars['teacher_scale'] = self.calibration.log_scale.exp()
        if foreground is not None:
            objects = foreground if counted is None else foreground & counted
            self.log_vars['right_foreground'] = (right & objects).sum() / objects.sum().clamp(min=1)
        rows = rows * weights
        if self.trust is None:
            return rows
        if counted is not None:
            foreground = counted if foreground is None else counted & foreground
        noise = options.get('label_noise', 0.0)
        factor = self.trust(class_right, student_logits.detach(), labels, foreground, noise)
        self.log_vars.update(self.trust.log_vars)
        if not self.give_back:
            return rows * factor
        label_rows = F.cross_entropy(student_logits, labels, reduction='none')
        if counted is not None:
            label_rows = label_rows.masked_fill(~counted, 0)
        return rows * factor + label_rows * (1 - factor)

    def scale(self, progress=None):
        """``loss_weight`` times the host's; see :meth:`LogitLoss.scale`."""
        return self.loss_weight * self.host.scale(progress)

    def _judge(self, predicted, labels, box_ious, foreground, background):
        """Whether the teacher is right, where more than its class counts, (N,) bool."""
        if self.judge != 'class_and_box':
            box_ious = None
        elif box_ious is None:
            raise ValueError(
                "BTKDLoss(judge='class_and_box') needs box_ious, the IoU of the teacher's boxes "
                'with the ground truth: a site of a two-stage detector passes them'
            )
        return judge_predicted(
            predicted,
            labels,
            box_ious,
            self.iou_threshold,
            foreground,
            self.foreground_only,
            background,
        )

    def _rule_options(self, student_logits, teacher_logits, predicted, labels, counted):
        """The rule's options, with what is estimated of the labels."""
        if not self.noise:
            return self.rule_options
        options = dict(self.rule_options)
        confidence = teacher_logits.softmax(dim=1).amax(dim=1)
        seen = confidence, predicted, student_logits.detach().argmax(dim=1), labels
        everything = torch.ones_like(labels, dtype=torch.bool) if counted is None else counted
        background = teacher_logits.shape[1] - 1
        objects = everything
        if 'missed' in options or self.judge == 'object':
            objects = everything & (labels != background)
        if self.judge == 'object':
            # A teacher that says background doubts the box, not the annotator's class.
            objects = objects & (predicted != background)
        if 'label_noise' in self.noise:
            options['label_noise'] = self.noise['label_noise'](*seen, objects)
        if 'missed' in self.noise:
            found = (labels == background) | (labels == predicted)
            found = everything & found & (predicted != background)
            options['missed'] = self.noise['missed'](*seen, found)
        return options

    def _target(self, teacher_logits, labels, predicted, options):
        """The teacher that the host sees, (N, C)."""
        if self.space == 'logits':
            return apply_rule(self.rule, teacher_logits, labels, predicted, options)
        probs = teacher_logits.softmax(dim=1)
        probs = apply_rule(self.rule, probs, labels, predicted, options)
        log_probs = probs.clamp_min(torch.finfo(probs.dtype).tiny).log()
        # A row left alone keeps what its softmax rounds to 0.
        return torch.where((predicted != labels).unsqueeze(1), log_probs, teacher_logits)

    def _total(self, rows, counted):
        """What the weights of the rows that count add up to: their number."""
        if self.schedule == 'none' or self.normalize == 'all':
            # Then every row has its own share of N, whatever the others are.
            return rows.shape[0]
        return self.count(rows, counted)

    def _part_sizes(self, right, dtype, counted=None):
        """Number of right and of wrong rows, the mean over ranks, at least 1 in all of them.

        With its own counts each rank would give its few wrong rows the full weight, and two
        processes would not train as one does on the joined batch.
        """
        counts = count_parts(right, dtype, counted)
        if not self.training or get_world_size() == 1:
            return counts.clamp_(min=1)
        return sum_over_ranks(counts).clamp_(min=1) / get_world_size()

    def _seen(self, rows, right, counts, gamma=None, counted=None):
        """The log entries: the share of right rows, the means of both parts, gamma."""
        mask = (right if counted is None else right & counted).to(rows.dtype)
        right_sum = (rows * mask).sum()
        sums = torch.stack([right_sum, rows.sum() - right_sum])
        easy, hard = (sums / counts).unbind()
        seen = {'right': mask.sum() / count_rows(rows, counted), 'easy': easy, 'hard': hard}
        if gamma is not None:
            if not isinstance(gamma, torch.Tensor):
                gamma = torch.full((), gamma, dtype=rows.dtype, device=rows.device)
            seen['gamma'] = gamma.detach()
        return seen


def _check_choice(field, value, valid):
    if value not in valid:
        raise ConfigError(f'{field}: unknown value {value!r}; valid: {", ".join(map(str, valid))}')


def _parse_rule(rectify, space, eta):
    """The rule and its options from what the config says; ConfigError if they do not fit."""
    if isinstance(rectify, dict):
        options = dict(rectify)
        name = options.pop('type', None)
    else:
        name, options = rectify, {}
    if eta is not None:
        options['eta'] = eta
    rule = find_rule(name, space, options)
    if 'eta' in options and not (
        isinstance(options['eta'], (int, float)) and 0 < options['eta'] <= 1
    ):
        raise ConfigError(f'eta: got {options["eta"]!r}; valid: above 0, at most 1')
    for field in ('label_noise', 'missed'):
        value = options.get(field)
        if value is None or value == ESTIMATED:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
            raise ConfigError(
                f'rectify.{field}: got {value!r}; valid: above 0 and below 1, or {ESTIMATED!r}'
            )
    return rule, options
