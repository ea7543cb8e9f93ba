"""What should the teacher have said on the rows where it is wrong?"""

import math
from typing import Any

import torch
from torch import Tensor

from .rules import RULES, SPACES, Rule, find_rule, register_rule

__all__ = ['POLE', 'RULES', 'SPACES', 'Rule', 'apply_rule', 'find_rule', 'rectify', 'register_rule']

#: ``pair_blend`` does not scale a pair whose sum lies this close to -1: its factor would be
#: larger than 200.
POLE = 0.01


def first_choice(logits: Tensor) -> Tensor:
    """Class index of the largest logit of each row: (N, C) to (N,), the first of equal ones."""
    plain = type(logits) is Tensor and logits.device.type == 'cpu'
    single = logits.dtype in (torch.float32, torch.float64)
    if plain and single and not torch.compiler.is_compiling():
        # NumPy's takes a fifth of the time; it reads and writes the memory as it is.
        choice = torch.empty(logits.shape[0], dtype=torch.int64)
        logits.detach().numpy().argmax(axis=1, out=choice.numpy())
        return choice
    return logits.argmax(dim=1)


def rectify(
    teacher_logits: Tensor,
    labels: Tensor,
    rule: str = 'swap',
    space: str = 'logits',
    *,
    right: Tensor | None = None,
    predicted: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """The teacher's rows with the wrong ones put right.

    Right rows come back bit for bit; in ``probs`` they are the teacher's softmax. So do rows
    whose class is right and that ``right`` calls wrong for another reason, a box: there is
    nothing in their logits to put right.

    Args:
        teacher_logits (Tensor): (N, C).
        labels (Tensor): Class index of each row, (N,).
        rule (str): ``'swap'``, ``'blend'``, ``'pair_blend'``, ``'label_revision'``,
            ``'posterior'``, ``'none'``, ``'drop'`` or a registered one. Defaults to ``'swap'``.
        space (str): ``'logits'``: the rule works on the logits. ``'probs'``: it works on
            their softmax at temperature 1, and probabilities come back. Defaults to
            ``'logits'``.
        right (Tensor, optional): Rows to leave alone, (N,) bool. Defaults to
            ``is_right(teacher_logits, labels)``.
        predicted (Tensor, optional): The teacher's choices, (N,), if the caller has them.
        **options: The rule's own, such as ``eta``.

    Returns:
        Tensor: (N, C), computed in float32 at least, in the dtype of ``teacher_logits``, and
        cut to that dtype's range.

    Raises:
        ConfigError: The rule, the space or an option is unknown, or they do not go together.

    Examples:
        >>> import torch
        >>> from btkd_det.bias import rectify
        >>> teacher, labels = torch.tensor([[3.0, 0.0], [2.0, 1.0]]), torch.tensor([0, 1])
        >>> rectify(teacher, labels)
        tensor([[3., 0.],
                [1., 2.]])
        >>> rectify(teacher, labels, 'posterior', label_noise=0.5)
        tensor([[3., 0.],
                [2., 1.]])
    """
    found = find_rule(rule, space, options)
    if predicted is None:
        predicted = first_choice(teacher_logits)
    if right is not None:
        predicted = torch.where(right, labels, predicted)
    values = teacher_logits
    if values.dtype in (torch.float16, torch.bfloat16):
        values = values.float()
    if space == 'probs':
        values = values.softmax(dim=1)
    values = apply_rule(found, values, labels, predicted, options)
    if values.dtype != teacher_logits.dtype:
        limit = torch.finfo(teacher_logits.dtype).max
        values = values.clamp(-limit, limit).to(teacher_logits.dtype)
    return values


def apply_rule(
    rule: Rule, values: Tensor, labels: Tensor, predicted: Tensor, options: dict[str, Any]
) -> Tensor:
    """Rewrite by ``rule`` the rows whose ``predicted`` is not their label.

    Args:
        rule, labels, predicted, options: As for :func:`rectified_logits`.
        values (Tensor): Logits or probabilities, (N, C), no half precision.

    Returns:
        Tensor: (N, C).
    """
    wrong = None if rule.keeps_right else (predicted != labels).unsqueeze(1)
    if not rule.pair:
        rewritten = rule.function(values, labels, predicted, **options)
        return rewritten if wrong is None else torch.where(wrong, rewritten, values)
    labels, predicted = labels.unsqueeze(1), predicted.unsqueeze(1)
    label_value, top_value = values.gather(1, labels), values.gather(1, predicted)
    new_label, new_top = rule.function(label_value, top_value, **options)
    if wrong is not None:
        # On a right row both writes hit one cell: the second puts its old value back.
        new_label = torch.where(wrong, new_label, label_value)
    return values.scatter(1, predicted, new_top).scatter_(1, labels, new_label)


def rectified_logits(
    rule: Rule,
    space: str,
    teacher_logits: Tensor,
    labels: Tensor,
    predicted: Tensor,
    options: dict[str, Any],
) -> Tensor:
    """The teacher's rows by ``rule``, as the logits that a host loss takes.

    Args:
        rule (Rule): From :func:`find_rule`.
        space (str): ``'logits'``, or ``'probs'``: the rule works on probabilities, and the
            logarithms of what it gives are the logits.
        teacher_logits (Tensor): (N, C), no half precision.
        labels (Tensor): (N,).
        predicted (Tensor): The teacher's choice, (N,); the label on rows to leave alone.
        options (dict): The rule's own.

    Returns:
        Tensor: (N, C).
    """
    if space == 'logits':
        return apply_rule(rule, teacher_logits, labels, predicted, options)
    probs = apply_rule(rule, teacher_logits.softmax(dim=1), labels, predicted, options)
    log_probs = probs.clamp_min(torch.finfo(probs.dtype).tiny).log()
    # A row left alone keeps what its softmax rounds to 0.
    return torch.where((predicted != labels).unsqueeze(1), log_probs, teacher_logits)


@register_rule('swap', pair=True, keeps_right=True)
def swap(label_value: Tensor, top_value: Tensor) -> tuple[Tensor, Tensor]:
    """The label's entry and the largest one change places.

    BTKD's first rule, and what Wen et al. call label augmentation ("Preparing Lessons",
    2019). It keeps the row's values, so its entropy and its softmax at any temperature, and
    it works the same on logits and on probabilities.

    Args:
        label_value (Tensor): Entry of the label, any shape.
        top_value (Tensor): Entry of the teacher's choice, same shape.

    Returns:
        tuple[Tensor, Tensor]: The new entries, in this order.
    """
    return top_value, label_value


@register_rule('blend')
def blend(teacher: Tensor, labels: Tensor, predicted: Tensor) -> Tensor:
    """The mean of the row and the label's one-hot vector, ``(z + onehot(y)) / 2``.

    BTKD. On probabilities the label becomes the largest entry always, unless it held 0 and
    the choice held 1, a tie. On raw logits it halves the row and gives the label 0.5, which
    turns a wrong row right only where ``z_y + 1 > z_c``: what it does depends on the scale of
    the logits, and a shift of a row comes back halved.

    Args:
        teacher (Tensor): (N, C).
        labels (Tensor): (N,).
        predicted (Tensor): (N,), not read.

    Returns:
        Tensor: (N, C).
    """
    half = teacher / 2
    bonus = torch.full_like(half[:, :1], 0.5)
    return half.scatter_add_(1, labels.unsqueeze(1), bonus)


@register_rule('pair_blend', pair=True)
def pair_blend(label_value: Tensor, top_value: Tensor) -> tuple[Tensor, Tensor]:
    """Blend the label's and the largest entry, then give them back their old sum.

    BTKD: ``z_y' = (z_y + 1) / 2``, ``z_c' = z_c / 2``, both times
    ``(z_y + z_c) / (z_y' + z_c')``. On probabilities the label becomes the larger of the two
    always. On raw logits that is so only where ``z_y + 1 > z_c``, and the factor,
    ``2 s / (s + 1)`` with ``s = z_y + z_c``, has a pole at ``s = -1``: the published code
    multiplies by anything there, and by a negative number for s in (-1, 0), which turns the
    order around. Ours keeps the pair unscaled within :data:`POLE` of it, and is the
    published rule everywhere else. On raw logits it is not invariant to a shift.

    Args:
        label_value, top_value: As for :func:`swap`.

    Returns:
        tuple[Tensor, Tensor]: The new entries, in this order.
    """
    new_label, new_top = (label_value + 1) / 2, top_value / 2
    blended = new_label + new_top
    safe = blended.abs() > POLE / 2
    factor = torch.where(safe, (label_value + top_value) / torch.where(safe, blended, 1.0), 1.0)
    return new_label * factor, new_top * factor


@register_rule('label_revision', spaces=('probs',))
def label_revision(teacher: Tensor, labels: Tensor, predicted: Tensor, eta: float = 0.8) -> Tensor:
    """As much of the teacher as the label can lead, the rest to the label.

    Label Revision: ``b = eta / (p_c - p_y + 1)``, ``p' = b p + (1 - b) onehot(y)``. LoCa's
    ``alpha / (1 - p_y + p_c)`` is the same formula with alpha for eta, from 0.9 to 1. The
    label leads the choice by ``1 - eta``.

    Args:
        teacher (Tensor): Probabilities, (N, C).
        labels (Tensor): (N,).
        predicted (Tensor): (N,).
        eta (float): In (0, 1]. Defaults to 0.8, Label Revision's.

    Returns:
        Tensor: Probabilities, (N, C).
    """
    labels = labels.unsqueeze(1)
    gap = teacher.gather(1, predicted.unsqueeze(1)) - teacher.gather(1, labels)
    share = eta / (gap + 1)
    return (teacher * share).scatter_add_(1, labels, 1 - share)


@register_rule('posterior', spaces=('logits',), keeps_right=True)
def posterior(
    teacher: Tensor,
    labels: Tensor,
    predicted: Tensor,
    label_noise: float | Tensor = 0.1,
    missed: float | Tensor | None = None,
) -> Tensor:
    """What is likely, given the teacher and an annotation that may be wrong, too (ours).

    Bayes' rule with the teacher's softmax as the prior and the annotation as evidence,
    ``q(k) ~ p(k) P(label | k)``. An annotation names another class with the probability
    ``label_noise``, spread evenly over the others. Where the teacher hardly prefers its choice,
    the label wins; where it is all but sure, its choice stays. As ``P(label | k)`` has one value
    at the label and one elsewhere, one number is added to one logit:
    ``log((1 - label_noise) (C - 1) / label_noise)``, 5.1 for 20 classes and 0.1.

    In detection an object may also have no annotation. With ``missed`` the last class is the
    background, and a row that it is the label of gets ``log((1 - label_noise) / missed)`` there
    instead: an object that the teacher is sure of stays, though nobody annotated it.

    Args:
        teacher (Tensor): Logits, (N, C).
        labels (Tensor): (N,).
        predicted (Tensor): (N,); where it is the label, nothing is added.
        label_noise (float | Tensor): Probability of a wrong annotation, above 0 and below 1; a
            tensor has no dimensions or is (N,). Defaults to 0.1.
        missed (float | Tensor, optional): Probability that an object is not annotated, above 0
            and below 1. None, the default: no class is the background.

    Returns:
        Tensor: Logits, (N, C).
    """
    classes = teacher.shape[1]
    evidence = _log_ratio(1 - label_noise, label_noise, teacher) + math.log(max(classes - 1, 1))
    if missed is not None:
        unannotated = _log_ratio(1 - label_noise, missed, teacher)
        evidence = torch.where(labels == classes - 1, unannotated, evidence)
    evidence = evidence * (predicted != labels)
    return teacher.scatter_add(1, labels.unsqueeze(1), evidence.unsqueeze(1))


def _log_ratio(above: float | Tensor, below: float | Tensor, like: Tensor) -> Tensor:
    """``log(above / below)`` of numbers or tensors, a tensor of the kind of ``like``."""
    ratio = above / below
    if isinstance(ratio, Tensor):
        return ratio.to(like.dtype).log()
    # Made on the device: copying a number there would wait.
    return like.new_full((), math.log(ratio))


@register_rule('none', keeps_right=True)
def keep(teacher: Tensor, labels: Tensor, predicted: Tensor) -> Tensor:
    """The teacher as it is, (N, C): what a curriculum alone works on. The others are not read."""
    return teacher


register_rule('drop', keeps_right=True, drops_wrong=True)(keep)
