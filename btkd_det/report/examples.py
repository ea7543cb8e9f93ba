"""The mistakes of a teacher that are worth a look."""

import heapq
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .rows import Rows

#: What can go wrong at a RoI. At an image only the first can.
KINDS = ('another_class', 'object_as_background', 'background_as_object')
#: Kept of each kind of mistake, to look at.
EXAMPLES = 12


class Examples:
    """The mistakes of each kind that the teacher was surest of, one of an image.

    Args:
        background (int, optional): Index of the background.
    """

    def __init__(self, background: int | None = None) -> None:
        self.background = background
        self._kept: dict[str, list[Any]] = {kind: [] for kind in KINDS}
        self._count = 0

    def add(
        self,
        rows: Rows,
        choice: Tensor,
        confidence: Tensor,
        right: Tensor,
        pictures: Sequence[Tensor],
    ) -> None:
        """Look for mistakes in a batch.

        Args:
            rows (Rows): The batch's.
            choice, confidence, right (Tensor): From :meth:`BiasCount.update`.
            pictures (Sequence[Tensor]): The batch's images, (C, H, W) each.
        """
        wrong = (~right).nonzero().flatten()
        order = wrong[confidence[wrong].argsort(descending=True)].tolist()
        taken: set[tuple[str, int]] = set()
        for row in order:
            label, found, image = (int(x[row]) for x in (rows.labels, choice, rows.images))
            kind = self._kind(label, found)
            if (kind, image) in taken:
                continue
            taken.add((kind, image))
            self._offer(
                kind,
                dict(
                    confidence=float(confidence[row]),
                    label=label,
                    choice=found,
                    box=None if rows.boxes is None else rows.boxes[row].tolist(),
                    truth=[] if rows.truths is None else rows.truths[image].tolist(),
                    picture=pictures[image],
                ),
            )

    def _kind(self, label: Any, choice: Any) -> str:
        if label == self.background:
            return 'background_as_object'
        return 'object_as_background' if choice == self.background else 'another_class'

    def _offer(self, kind: str, example: Any) -> None:
        kept = self._kept[kind]
        self._count += 1
        entry = (example['confidence'], -self._count, example)
        if len(kept) < EXAMPLES:
            heapq.heappush(kept, entry)
        elif entry > kept[0]:
            heapq.heapreplace(kept, entry)

    def best(self) -> dict[str, list[dict[str, Any]]]:
        """dict[str, list[dict]]: For each kind, the surest first."""
        return {
            kind: [entry[2] for entry in sorted(kept)[::-1]] for kind, kept in self._kept.items()
        }
