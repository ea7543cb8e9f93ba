"""What a teacher gets wrong, and what the rules of correction make of it, as numbers."""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

from ..bias.curriculum import coefficient
from ..bias.judge import is_right
from ..bias.rectify import RULES, apply_rule
from ..errors import ConfigError
from ..hints import Model
from ..losses.logit_loss import bounded
from .examples import EXAMPLES, KINDS, Examples
from .rows import Rows, check_some_finite, walk

__all__ = ['EXAMPLES', 'KINDS', 'BiasCount', 'Examples', 'examine']

#: Of the histogram of confidence, from 0 to 1.
BINS = 20
#: Upper limits of a RoI's area in pixels of the image, COCO's of an object.
SIZES = dict(small=32**2, medium=96**2, large=math.inf)
#: Limits of a RoI's IoU with the annotated object that it overlaps most.
OVERLAPS = (0.0, 0.1, 0.3, 0.5, 0.7)


class BiasCount:
    """Counts a teacher's right and wrong rows; what it holds does not grow with the data.

    Args:
        num_classes (int): C, background included.
        background (bool): Whether the last class is background.
        device (torch.device | str): Of the counts.
    """

    def __init__(
        self, num_classes: int, background: bool = False, device: torch.device | str = 'cpu'
    ) -> None:
        self.background = num_classes - 1 if background else None
        self.batches = self.left_out = 0
        self.confusion = torch.zeros(num_classes, num_classes, dtype=torch.long, device=device)
        self.confidence = torch.zeros(2, BINS, dtype=torch.long, device=device)
        self.sizes = torch.zeros(len(SIZES), 2, dtype=torch.long, device=device)
        self.overlaps = torch.zeros(len(OVERLAPS), 2, dtype=torch.long, device=device)
        # Sums over the wrong rows: put right, the label's probability, the mass that moved.
        self.rules = {key: torch.zeros(3, dtype=torch.float64, device=device) for key in _rules()}

    def update(
        self,
        logits: Tensor,
        labels: Tensor,
        areas: Tensor | None = None,
        overlaps: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Count a batch.

        Args:
            logits (Tensor): (R, C).
            labels (Tensor): (R,).
            areas (Tensor, optional): Of each row's box in pixels of the image, (R,); read on
                rows that are not background.
            overlaps (Tensor, optional): IoU of each row's box with the annotated object that it
                overlaps most, (R,).

        Returns:
            tuple[Tensor, Tensor, Tensor]: The teacher's choice, its probability, and whether it
            is right, (R,) each.
        """
        self.batches += 1
        probs = logits.detach().float().softmax(dim=1)
        confidence, choice = probs.max(dim=1)
        right = is_right(probs, labels)
        classes = len(self.confusion)
        cells = (labels * classes + choice).bincount(minlength=classes**2)
        self.confusion += cells.view_as(self.confusion)
        bins = (confidence * BINS).long().clamp(max=BINS - 1)
        self.confidence += (right * BINS + bins).bincount(minlength=2 * BINS).view(2, BINS)
        if areas is not None:
            objects = labels != self.background
            _count(self.sizes, areas[objects], list(SIZES.values())[:-1], right[objects])
        if overlaps is not None:
            _count(self.overlaps, overlaps, OVERLAPS[1:], right)
        wrong = ~right
        self._rectify(logits[wrong].detach().float(), labels[wrong], choice[wrong])
        return choice, confidence, right

    def _rectify(self, logits: Tensor, labels: Tensor, choice: Any) -> None:
        # As the losses do: the rules add logits up.
        logits = bounded(logits)
        before = logits.softmax(dim=1)
        for (name, space), sums in self.rules.items():
            values = before if space == 'probs' else logits
            after = apply_rule(RULES[name], values, labels, choice, {})
            if space == 'logits':
                after = after.softmax(dim=1)
            sums[0] += (after.argmax(dim=1) == labels).sum()
            sums[1] += after.gather(1, labels[:, None]).sum()
            sums[2] += (after - before).abs().sum() / 2

    def result(self, class_names: Sequence[str] | None = None) -> dict[str, Any]:
        """All counts, as JSON takes them.

        Args:
            class_names (Sequence[str], optional): Names of the classes, with or without the
                background's.

        Returns:
            dict: ``rows``, ``right``, ``right_rate``; ``left_out``, rows that are not finite;
            ``foreground`` and ``background`` with ``rows``, ``right``, ``right_rate``, where there
            is a background; ``kinds`` of mistakes and how many;
            ``classes``, one dict for each class that came by; ``sizes`` and ``overlaps`` of
            RoIs; ``confidence``; ``rules``; ``curriculum``; ``confusion``.
        """
        names = self._names(class_names)
        confusion = self.confusion.cpu()
        right, totals = confusion.diagonal(), confusion.sum(dim=1)
        rows = int(totals.sum())
        found = _rates(right.sum(), rows) | dict(batches=self.batches, left_out=self.left_out)
        if self.background is not None:
            found['foreground'] = _rates(right[:-1].sum(), totals[:-1].sum())
            found['background'] = _rates(right[-1], totals[-1])
        found['kinds'] = self._kinds(confusion)
        if self.overlaps.any():
            found['sizes'] = _table(SIZES, self.sizes)
            limits = [f'{low} to {high}' for low, high in itertools.pairwise([*OVERLAPS, 1.0])]
            found['overlaps'] = _table(limits, self.overlaps)
        found['classes'] = [
            dict(name=names[i], **_rates(right[i], totals[i]), taken_for=_taken(row, i, names))
            for i, row in enumerate(confusion)
            if totals[i]
        ]
        found['confidence'] = dict(
            bins=BINS, wrong=self.confidence[0].tolist(), right=self.confidence[1].tolist()
        )
        found['rules'] = self._rule_results(rows - found['right'])
        found['curriculum'] = _curriculum(found['right'], rows)
        found['names'], found['confusion'] = names, confusion.tolist()
        return found

    def _names(self, given: Any) -> Any:
        names = list(given or map(str, range(len(self.confusion))))
        if self.background is not None and len(names) == self.background:
            names.append('background')
        return names[: len(self.confusion)]

    def _kinds(self, confusion: Any) -> dict[str, Any]:
        wrong = confusion.clone().fill_diagonal_(0)
        if self.background is None:
            return dict(another_class=int(wrong.sum()))
        counts = wrong[:-1, :-1].sum(), wrong[:-1, -1].sum(), wrong[-1].sum()
        return dict(zip(KINDS, map(int, counts), strict=True))

    def _rule_results(self, wrong: Any) -> list[Any]:
        names = ('put_right', 'label_probability', 'moved')
        return [
            dict(rule=name, space=space)
            | {key: value / max(wrong, 1) for key, value in zip(names, sums.tolist(), strict=True)}
            for (name, space), sums in self.rules.items()
        ]


def examine(
    model: Model, loader: Iterable[dict[str, Any]], report: Callable[[], None] | None = None
) -> list[tuple[BiasCount, Examples]]:
    """Judge a teacher on its data, as BTKD's losses do.

    Args:
        model (nn.Module): See :func:`~btkd_det.report.rows.walk`.
        loader (Iterable[dict]): Batches with annotations.
        report (Callable[[], None], optional): Called after each batch.

    Returns:
        list[tuple[BiasCount, Examples]]: One, or one for each stage of a cascade.

    Raises:
        ConfigError: The model gives no logits per class or none that are finite, or there was no
            batch.
    """
    found = []
    for batch, parts in walk(model, loader, report):
        for stage, rows in enumerate(parts):
            background = rows.boxes is not None
            if stage == len(found):
                classes = rows.logits.shape[1]
                count = BiasCount(classes, background, rows.logits.device)
                found.append((count, Examples(count.background)))
            count, examples = found[stage]
            count.left_out += rows.left_out
            at = _boxes(rows, batch['data_samples']) if background else {}
            examples.add(rows, *count.update(rows.logits, rows.labels, **at), batch['inputs'])
    if not found:
        raise ConfigError('CONFIG: its data gave no batch; valid is a set with images')
    for count, _ in found:
        check_some_finite(int(count.confusion.sum()), count.left_out)
    return found


def _boxes(rows: Rows, samples: Sequence[Any]) -> dict[str, Any]:
    """Areas in pixels of the image before it was resized, and overlaps; see ``update``."""
    width, height = (rows.boxes[:, 2:] - rows.boxes[:, :2]).unbind(dim=1)
    scales = [sample.metainfo.get('scale_factor') or (1.0, 1.0) for sample in samples]
    factor = torch.tensor([float(x) * float(y) for x, y in scales], device=width.device)
    overlaps = torch.zeros_like(width)
    for i, truth in enumerate(rows.truths):
        if len(truth):
            own = rows.images == i
            overlaps[own] = box_iou(rows.boxes[own], truth.to(rows.boxes)).amax(dim=1)
    return dict(areas=width * height / factor[rows.images], overlaps=overlaps)


def _count(table: Any, values: Any, limits: Any, right: Tensor) -> None:
    """Add wrong and right rows to a table, (len(limits) + 1, 2), by where their values lie."""
    limits = torch.tensor(limits, dtype=values.dtype, device=values.device)
    place = torch.bucketize(values, limits, right=True)
    table += (place * 2 + right).bincount(minlength=table.numel()).view_as(table)


def _table(names: Any, counts: Any) -> dict[str, Any]:
    return {
        name: _rates(right, wrong + right)
        for name, (wrong, right) in zip(names, counts.tolist(), strict=True)
    }


def _rules() -> list[Any]:
    """The rules that change something, in each space that they are defined on."""
    return [
        (rule.name, space)
        for rule in RULES.values()
        for space in rule.spaces
        if rule.name not in ('none', 'drop')
    ]


def _rates(right: Any, rows: Any) -> dict[str, Any]:
    right, rows = int(right), int(rows)
    return dict(rows=rows, right=right, right_rate=right / rows if rows else None)


def _taken(row: Any, own: Any, names: Any, most: int = 3) -> dict[Any, Any]:
    """What a class is taken for, the most frequent first."""
    others = [(int(n), names[i]) for i, n in enumerate(row) if n and i != own]
    return {name: n for n, name in sorted(others, key=lambda pair: -pair[0])[:most]}


def _curriculum(right: Any, rows: Any) -> dict[str, Any]:
    """How many times a right row's weight a wrong one has, by BTKD's published schedule."""
    wrong = rows - right
    if not right or not wrong:
        return {}
    weight = lambda gamma: (gamma / wrong) / ((1 - gamma) / right)
    return {str(share): weight(coefficient(share)) for share in (0.25, 0.5, 0.75)}
