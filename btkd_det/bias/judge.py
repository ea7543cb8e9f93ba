"""On which rows is the teacher right?"""

from torch import Tensor

from .rectify import first_choice


def is_right(
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    box_ious: Tensor | None = None,
    iou_threshold: float = 0.5,
    foreground: Tensor | None = None,
    foreground_only: bool = False,
    background: int | None = None,
) -> Tensor:
    """Whether the teacher's first choice is the label.

    The rule of the BTKD paper (its easy and hard sets) and of the published code. The other
    arguments are for detection: the papers' authors name the box as a further judge there.
    Where several classes share the largest logit, the first of them is the choice.

    Args:
        teacher_logits (Tensor): Logits or anything that orders classes alike, (N, C).
        labels (Tensor): Class index of each row, (N,).
        box_ious (Tensor, optional): IoU of the teacher's box with the row's ground truth
            box, (N,). Given, a foreground row is right only with an IoU of at least
            ``iou_threshold``. What stands there on other rows is not read.
        iou_threshold (float): See ``box_ious``. Defaults to 0.5.
        foreground (Tensor, optional): Which rows show an object, (N,) bool. None means all.
        foreground_only (bool): Do not judge rows without an object: they count as right, so
            that nothing rectifies them. Defaults to False.
        background (int, optional): Class index of the background. Given, a row is wrong only where
            label and choice are two objects: whether a box that overlaps an object in part
            shows it is a question of the box, which the assigner's threshold answers one way
            (ours). Defaults to None.

    Returns:
        Tensor: (N,) bool.

    Examples:
        >>> import torch
        >>> from btkd_det.bias import is_right
        >>> teacher = torch.tensor([[3.0, 0.0], [2.0, 1.0]])
        >>> is_right(teacher, torch.tensor([0, 1]))
        tensor([ True, False])
    """
    predicted = first_choice(teacher_logits)
    return judge_predicted(
        predicted, labels, box_ious, iou_threshold, foreground, foreground_only, background
    )


def judge_predicted(
    predicted: Tensor,
    labels: Tensor,
    box_ious: Tensor | None = None,
    iou_threshold: float = 0.5,
    foreground: Tensor | None = None,
    foreground_only: bool = False,
    background: int | None = None,
) -> Tensor:
    """:func:`is_right` for a caller that already has the teacher's choice.

    Args:
        predicted (Tensor): Class index that the teacher chose, (N,).
        labels, box_ious, iou_threshold, foreground, foreground_only, background: As in
            :func:`is_right`.

    Returns:
        Tensor: (N,) bool.
    """
    right = predicted == labels
    if box_ious is not None:
        box_right = box_ious >= iou_threshold
        right = right & (box_right if foreground is None else box_right | ~foreground)
    if foreground_only and foreground is not None:
        right = right | ~foreground
    if background is not None:
        right = right | (predicted == background) | (labels == background)
    return right
