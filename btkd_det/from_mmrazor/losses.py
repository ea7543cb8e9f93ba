"""MMRazor's losses as ours, each exactly or not at all.

One function for each loss: it takes its keys out of ``args`` and gives ours. What it leaves there
is not known and refuses the translation.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

from ..config.named_types import type_package
from ..config.reading import type_name
from .errors import NoCounterpart
from .sides import kind_of

#: Rows and classes of the logits of a batch, where the config tells them.
Rows: TypeAlias = tuple[int | None, int | None]


def _l2(args: Any, rows: Rows, note: Callable[[str], None]) -> dict[str, Any]:
    normalize, element = args.pop('normalize', True), args.pop('div_element', False)
    dist, _ = args.pop('dist', False), args.pop('mult', 1.0)
    if normalize or dist or not element:
        raise NoCounterpart(
            'FitNetLoss is the mean squared error: valid for a translation are normalize=False, '
            f'div_element=True and dist=False, got {normalize}, {element} and {dist}'
        )
    return dict(type='btkd_det.FitNetLoss', loss_weight=args.pop('loss_weight', 1.0))


def _kl(args: Any, rows: Rows, note: Callable[[str], None]) -> dict[str, Any]:
    weight, reduction = args.pop('loss_weight', 1.0), args.pop('reduction', 'batchmean')
    _frozen_teacher(args)
    batch, classes = rows
    if reduction == 'mean' and classes:
        weight = weight / classes
    elif reduction == 'sum' and batch:
        weight = weight * batch
    elif reduction != 'batchmean':
        raise NoCounterpart(f"reduction={reduction!r} where rows are not known; valid: 'batchmean'")
    return dict(type='btkd_det.KDLoss', temperature=args.pop('tau', 1.0), loss_weight=weight)


def _dkd(args: Any, rows: Rows, note: Callable[[str], None]) -> dict[str, Any]:
    weight, reduction = args.pop('loss_weight', 1.0), args.pop('reduction', 'batchmean')
    if reduction in ('mean', 'sum'):
        # Both are the sum over the batch: MMRazor also passes size_average=False, which wins.
        if rows[0] is None:
            raise NoCounterpart(
                f"reduction={reduction!r} is MMRazor's sum over all rows; valid: 'batchmean'"
            )
        weight = weight * rows[0]
        note(
            f"DKDLoss: reduction={reduction!r} is MMRazor's sum over the batch, so loss_weight is "
            f'{weight:g}: times the {rows[0]} images of a batch'
        )
    elif reduction != 'batchmean':
        raise NoCounterpart(f"reduction={reduction!r}; valid: 'batchmean'")
    return dict(
        type='btkd_det.DKDLoss',
        alpha=args.pop('alpha', 1.0),
        beta=args.pop('beta', 1.0),
        temperature=args.pop('tau', 1.0),
        loss_weight=weight,
    )


def _pkd(args: Any, rows: Rows, note: Callable[[str], None]) -> dict[str, Any]:
    if not args.pop('resize_stu', True):
        raise NoCounterpart("resize_stu=False: btkd_det resizes the student's maps")
    return dict(type='btkd_det.PKDLoss', loss_weight=args.pop('loss_weight', 1.0))


def _cwd(args: Any, rows: Rows, note: Callable[[str], None]) -> dict[str, Any]:
    return dict(
        type='btkd_det.CWDLoss',
        temperature=args.pop('tau', 1.0),
        loss_weight=args.pop('loss_weight', 1.0),
    )


def _dist(args: Any, rows: Rows, note: Callable[[str], None]) -> dict[str, Any]:
    _frozen_teacher(args)
    return dict(
        type='btkd_det.DISTLoss',
        inter_weight=args.pop('inter_loss_weight', 1.0),
        intra_weight=args.pop('intra_loss_weight', 1.0),
        temperature=args.pop('tau', 1.0),
        loss_weight=args.pop('loss_weight', 1.0),
    )


def _mgd(args: Any, rows: Any, note: Any) -> Any:
    return dict(
        type='btkd_det.MGDLoss',
        mask_ratio=args.pop('mask_ratio'),
        loss_weight=args.pop('alpha_mgd', 2e-5),
    )


def _fbkd(args: Any, rows: Any, note: Any) -> Any:
    weights = dict(
        feature_weight=args.pop('mask_l2_weight', 7e-5),
        channel_weight=args.pop('channel_weight', 4e-3),
        spatial_weight=args.pop('spatial_weight', 4e-3),
        # So they spell it.
        relation_weight=args.pop('nonloacl_weight', 7e-5),
        loss_weight=args.pop('loss_weight', 1.0),
    )
    learned = {name: args.pop(name) for name in ('reduction', 'pool', 'temperature')}
    return dict(type='btkd_det.FBKDLoss', **learned, **weights)


def _rkd(kind: Any, weight: Any, args: Any, rows: Any, note: Any) -> Any:
    return dict(
        type=f'btkd_det.{kind}',
        l2_norm=args.pop('with_l2_norm', True),
        loss_weight=args.pop('loss_weight', weight),
    )


def _wsld(args: Any, rows: Any, note: Any) -> Any:
    args.pop('num_classes', None)
    return dict(
        type='btkd_det.WSLDLoss',
        temperature=args.pop('tau', 1.0),
        loss_weight=args.pop('loss_weight', 1.0),
    )


def _frozen_teacher(args: Any) -> None:
    if not args.pop('teacher_detach', True):
        raise NoCounterpart('teacher_detach=False: the teacher gets no gradient')


#: What a loss takes that compares the means of maps.
POOLED = 'pooled'

# MMRazor's class: its arguments for student, teacher and labels, the translation, whether it
# takes maps, or their means.
LOSSES = {
    'L2Loss': (('s_feature', 't_feature', None), _l2, True),
    'KLDivergence': (('preds_S', 'preds_T', None), _kl, False),
    'DKDLoss': (('preds_S', 'preds_T', 'gt_labels'), _dkd, False),
    'PKDLoss': (('preds_S', 'preds_T', None), _pkd, True),
    'ChannelWiseDivergence': (('preds_S', 'preds_T', None), _cwd, True),
    'DISTLoss': (('logits_S', 'logits_T', None), _dist, False),
    'MGDLoss': (('preds_S', 'preds_T', None), _mgd, True),
    'FBKDLoss': (('s_input', 't_input', None), _fbkd, True),
    'DistanceWiseRKD': (
        ('preds_S', 'preds_T', None),
        functools.partial(_rkd, 'RKDDistanceLoss', 25.0),
        POOLED,
    ),
    'AngleWiseRKD': (
        ('preds_S', 'preds_T', None),
        functools.partial(_rkd, 'RKDAngleLoss', 50.0),
        POOLED,
    ),
    'WSLD': (('student', 'teacher', 'gt_labels'), _wsld, False),
}


def find_loss(loss: dict[str, Any], mapping: dict[str, Any]) -> tuple:
    """How a loss is translated.

    Args:
        loss (dict): Of MMRazor's class, or of one of ours, which is taken as it is.
        mapping (dict): Its entry in ``loss_forward_mappings``.

    Returns:
        tuple: As the values of :data:`LOSSES`.

    Raises:
        NoCounterpart: It is not among them.
    """
    if type_package(loss) == 'btkd_det':
        as_it_is = functools.partial(_ours, f'btkd_det.{type_name(loss)}')
        if 'student_maps' in mapping:
            return ('student_maps', 'teacher_maps', None), as_it_is, True
        return ('student_logits', 'teacher_logits', 'labels'), as_it_is, False
    if kind_of(loss) not in LOSSES:
        raise NoCounterpart(f'not among {", ".join(LOSSES)} of MMRazor')
    return LOSSES[kind_of(loss)]


def _ours(name: str, args: Any, rows: Rows, note: Callable[[str], None]) -> Any:
    loss = dict(args, type=name)
    args.clear()
    return loss


def joined(entries: list[tuple]) -> dict[str, Any] | list[dict[str, Any]]:
    """One loss for all levels that have equal losses; a list where there are several kinds.

    Args:
        entries (list[tuple]): Of one site: the student's level and the teacher's, each None for
            all, and the loss.

    Returns:
        dict | list[dict]: What a site takes.
    """
    groups = []
    for pair, loss in entries:
        for pairs, same in groups:
            fresh = all(pair[i] not in [other[i] for other in pairs] for i in (0, 1))
            if same == loss and None not in pair and pairs and fresh:
                pairs.append(pair)
                break
        else:
            groups.append(([] if None in pair else [pair], loss))
    losses = [dict(loss, **_levels(pairs)) for pairs, loss in groups]
    return losses[0] if len(losses) == 1 else losses


def _levels(pairs: Any) -> dict[str, Any]:
    if not pairs:
        return {}
    levels, partners = zip(*sorted(pairs), strict=True)
    return (
        dict(levels=levels) if levels == partners else dict(levels=levels, teacher_levels=partners)
    )
