"""BTKD: a curriculum from what the teacher knows to what it had to be told."""

from typing import Any

import torch
from mmengine.dist import get_world_size
from torch import Tensor
from torch.nn import functional as F

from ..bias.curriculum import check_curriculum, coefficient, part_sums, weigh
from ..bias.judge import judge_predicted
from ..bias.rectify import first_choice, rectified_logits
from ..checks import check_bool, check_choice, check_fraction
from ..progress import training_progress
from ..registry import MODELS, build
from .btkd_options import JUDGES, TRUSTS, check_give_back, check_host, estimated, parse_rule
from .calibration import TeacherCalibration
from .label_noise import EstimatedNoise
from .logit_loss import LogitLoss, bounded, count_rows
from .ranks import sum_over_ranks
from .trust import MeasuredTrust


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
    #: The host's are bounded.
    bounds_logits = False

    def __init__(
        self,
        loss: dict[str, Any] | LogitLoss | None = None,
        rectify: str | dict[str, Any] = 'swap',
        space: str = 'logits',
        schedule: str = 'cosine',
        normalize: str = 'subset',
        trust: str | None = None,
        loss_weight: float = 1.0,
        *,
        eta: float | None = None,
        judge: str = 'class',
        iou_threshold: float = 0.5,
        foreground_only: bool = False,
        trust_gain: float = 20.0,
        trust_momentum: float = 0.99,
        trust_margin: float = 0.2,
        give_back: bool = False,
        calibrate: bool = False,
    ) -> None:
        super().__init__(loss_weight)
        if loss is None:
            loss = {'type': 'KDLoss', 'temperature': 5.0}
        self.host = build(loss, field='loss', base=LogitLoss)
        self.rule, self.rule_options = parse_rule(rectify, space, eta)
        check_host(self.host, space)
        check_curriculum(schedule, normalize)
        check_choice('judge', judge, JUDGES)
        check_choice('trust', trust, TRUSTS)
        check_fraction(iou_threshold=iou_threshold)
        check_bool(foreground_only=foreground_only, give_back=give_back, calibrate=calibrate)
        check_give_back(give_back, trust)
        self.space = space
        self.schedule = schedule
        self.normalize = normalize
        # Where each row has its own share of N, whatever the others are, the weights need no more.
        self.means_of_parts = schedule != 'none' and normalize == 'subset'
        self.judge = judge
        # Where nobody reads boxes, nobody has to compute them.
        own = [n for n in self.extra_inputs if n != 'box_ious' or judge == 'class_and_box']
        self.extra_inputs = tuple(dict.fromkeys([*own, *self.host.extra_inputs]))
        self.iou_threshold = iou_threshold
        self.foreground_only = foreground_only
        self.noise = EstimatedNoise(estimated(self.rule_options), judge == 'object')
        self.calibration = TeacherCalibration() if calibrate else None
        # Blending and scaling could leave the range of float32; the host is too late for that.
        self.bounds_teacher = calibrate or not self.rule.keeps_right
        self.trust = None
        if trust is not None:
            self.trust = MeasuredTrust(trust_gain, trust_momentum, trust, trust_margin)
        self.give_back = give_back

    def per_row(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        labels: Tensor,
        progress: float | Tensor | None = None,
        foreground: Tensor | None = None,
        box_ious: Tensor | None = None,
        counted: Tensor | None = None,
        **extra: Any,
    ) -> Tensor:
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
            **extra: What else the host declares.

        Returns:
            Tensor: (N,), whose mean over the rows that count is the loss without its weight.

        Raises:
            RuntimeError: The schedule needs ``progress``, and neither caller nor runner
                tells it.
            ValueError: ``class_and_box`` without ``box_ious``.
        """
        if progress is None and self.schedule != 'none':
            progress = training_progress()
        if self.bounds_teacher:
            teacher_logits = bounded(teacher_logits)
        if self.calibration is not None:
            teacher_logits = self.calibration(teacher_logits, labels, counted)
        predicted = first_choice(teacher_logits)
        class_right = right = predicted == labels
        student_predicted = None
        if self.noise or self.trust is not None:
            student_predicted = first_choice(student_logits.detach())
        options = self.rule_options
        if self.noise:
            seen = student_predicted, teacher_logits, predicted, labels, counted
            options = self.noise(options, *seen)
        if self.judge != 'class' or self.foreground_only:
            background = teacher_logits.shape[1] - 1 if self.judge == 'object' else None
            right = self._judge(predicted, labels, box_ious, foreground, background)
            predicted = torch.where(right, labels, predicted)
        target = rectified_logits(self.rule, self.space, teacher_logits, labels, predicted, options)
        number = count_rows(labels, counted)
        shared = (('progress', progress), ('foreground', foreground), ('box_ious', box_ious))
        for name, value in shared:
            if value is not None and name in self.host.extra_inputs:
                extra[name] = value
        rows = self.host.rows(student_logits, target, labels, counted, **extra)
        rows = self._weighted(rows, right, progress, counted, number)
        if self.noise:
            self.log_vars.update({name: options[name].detach() for name in self.noise})
        if self.calibration is not None:
            self.log_vars['teacher_scale'] = self.calibration.last_scale
        if foreground is not None:
            objects = foreground if counted is None else foreground & counted
            self.log_vars['right_foreground'] = (right & objects).sum() / objects.sum().clamp(min=1)
        if self.trust is None:
            return rows
        if counted is not None:
            foreground = counted if foreground is None else counted & foreground
        noise = options.get('label_noise', 0.0)
        factor = self.trust(class_right, student_predicted == labels, foreground, noise)
        self.log_vars.update(self.trust.log_vars)
        return self._give_back(rows * factor, factor, student_logits, labels, counted)

    def scale(self, progress: float | Tensor | None = None) -> float | Tensor:
        """``loss_weight`` times the host's; see :meth:`LogitLoss.scale`."""
        return self.loss_weight * self.host.scale(progress)

    def _give_back(
        self,
        rows: Tensor,
        factor: Tensor,
        student_logits: Tensor,
        labels: Tensor,
        counted: Tensor | None,
    ) -> Tensor:
        """The rows with what trust took from them given to the cross entropy, if so wanted."""
        if not self.give_back:
            return rows
        label_rows = F.cross_entropy(bounded(student_logits), labels, reduction='none')
        if counted is not None:
            label_rows = label_rows.masked_fill(~counted, 0)
        return rows + label_rows * (1 - factor)

    def _judge(
        self,
        predicted: Tensor,
        labels: Tensor,
        box_ious: Tensor | None,
        foreground: Tensor | None,
        background: int | None,
    ) -> Tensor:
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

    def _weighted(
        self,
        rows: Tensor,
        right: Tensor,
        progress: float | Tensor | None,
        counted: Tensor | None,
        number: int | Tensor,
    ) -> Tensor:
        """The rows times their weights in the curriculum; logs what both parts are."""
        if counted is not None:
            rows = rows.masked_fill(~counted, 0)
        gamma = None if self.schedule == 'none' else coefficient(progress, self.schedule)
        counts, sums = part_sums(rows.detach(), right, counted)
        self.log_vars = {'right': counts[0] / number}
        total = number if self.means_of_parts else rows.shape[0]
        if self.training and get_world_size() > 1:
            # With its own counts each rank would give its few wrong rows the full weight, and two
            # processes would not train as one does on the joined batch.
            counts = sum_over_ranks(counts).clamp_(min=1) / get_world_size()
            total = self.count(rows, counted) if self.means_of_parts else total
        else:
            counts.clamp_(min=1)
        self.log_vars['easy'], self.log_vars['hard'] = (sums / counts).unbind()
        drops, dtype = self.rule.drops_wrong, rows.dtype
        if gamma is None and not drops:
            # Every weight is 1.
            return rows
        if isinstance(gamma, torch.Tensor):
            self.log_vars['gamma'] = gamma.detach()
        elif gamma is not None:
            self.log_vars['gamma'] = torch.full((), gamma, dtype=dtype, device=rows.device)
        weights = weigh(
            right, gamma, self.normalize, drop_wrong=drops, total=total, counts=counts, dtype=dtype
        )
        return rows * weights
