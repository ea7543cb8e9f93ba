"""The teacher's classes in the order of the student's."""

import logging
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from ..errors import ConfigError

#: The way out for a teacher of other classes, for messages.
FEATURES_ALONE = 'or what is learned from features alone (--distill feature), for any classes'


class ClassMap(list):
    """The teacher's index of each of the student's classes.

    Args:
        indices (Sequence[int]): Distinct whole numbers from 0 on.

    Raises:
        ConfigError: They are not.
    """

    def __init__(self, indices: Sequence[int]) -> None:
        is_list = isinstance(indices, Sequence) and not isinstance(indices, str) and indices
        is_index = lambda value: isinstance(value, Integral) and not isinstance(value, bool)
        if (
            not is_list
            or not all(is_index(value) and value >= 0 for value in indices)
            or len(set(indices)) != len(indices)
        ):
            raise ConfigError(
                f"teacher.class_map: {indices!r}; valid: a list with the teacher's index of "
                "each of the student's classes, distinct whole numbers from 0 on, or None"
            )
        super().__init__(int(index) for index in indices)

    def check(self, ours: int, its: int, whose: str = '') -> None:
        """Raise unless the map goes with the numbers of classes.

        Args:
            ours (int): How many classes the student has.
            its (int): How many the teacher has.
            whose (str): What of the student has them, for the message.

        Raises:
            ConfigError: It has not an index for each class, or one that the teacher has not.
        """
        if len(self) != ours or max(self) >= its:
            raise ConfigError(
                f'teacher.class_map: {list(self)}; valid: for each of the {ours} classes of '
                f"the student{whose} an index below {its}, the number of the teacher's"
            )

    def scores(self, scores: Tensor, num_classes: int) -> Tensor:
        """Class scores of the student's classes.

        Args:
            scores (Tensor): (R, C') or (R, C' + 1) with background last.
            num_classes (int): C', the teacher's.

        Returns:
            Tensor: (R, C) or (R, C + 1).
        """
        background = [-1] if scores.shape[1] > num_classes else []
        return scores[:, [*self, *background]]

    def deltas(self, deltas: Tensor) -> Tensor:
        """Box deltas of the student's classes: (R, 4 C') to (R, 4 C)."""
        return deltas.unflatten(1, (-1, 4))[:, list(self)].flatten(1)

    def names(self, names: Sequence[str]) -> tuple[str, ...] | None:
        """The teacher's names of the student's classes.

        Args:
            names (Sequence[str]): All of the teacher's, as a checkpoint tells them.

        Returns:
            tuple[str] | None: ``None``, and a warning, where it names too few.
        """
        if max(self) < len(names):
            return tuple(names[index] for index in self)
        # The model's head is held against the map where it is used; a file's names may be wrong.
        print_log(
            f'teacher.class_map: {list(self)}, but teacher.checkpoint names only {len(names)} '
            'classes; taken as it is stated',
            'current',
            logging.WARNING,
        )
        return None

    def prediction(self, sample: Any) -> Any:
        """A prediction of the teacher, in the student's classes.

        Args:
            sample (DetDataSample | DataSample): What its ``predict`` gave; changed in place.

        Returns:
            DetDataSample | DataSample: A detector's instances without those of other classes; a
            classifier's scores of the student's classes, and the class of the largest.
        """
        if 'pred_instances' in sample:
            found = sample.pred_instances
            chosen = found.labels.new_tensor(self)
            found = found[torch.isin(found.labels, chosen)]
            found.labels = (found.labels[:, None] == chosen).int().argmax(dim=1)
            sample.pred_instances = found
        elif 'pred_score' in sample:
            scores = sample.pred_score[list(self)]
            sample.set_metainfo(dict(num_classes=len(self)))
            sample.set_pred_score(scores).set_pred_label(scores.argmax(dim=0, keepdim=True))
        return sample
