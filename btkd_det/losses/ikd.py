"""IKD: what the teacher says of a class on average."""

import logging
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from ..bias.judge import is_right
from ..checks import check_bool, check_positive, check_whole
from ..errors import ConfigError
from ..hints import Model
from ..progress import current_iteration, iterations_per_epoch, runner_info
from ..registry import MODELS
from .class_mean_table import add_rows, check_collects, check_has_rows
from .class_means import ClassMeans, check_class_means, read_class_means
from .divergences import as_float
from .kd import kl_of_logits
from .logit_loss import LogitLoss, bounded, count_rows

FINISHED = -1


@MODELS.register_module()
class IKDLoss(LogitLoss):
    """Distillation from the teacher's mean logits of the row's class (IKD, AAAI 2025).

    ``T^2 * KL(softmax(M[y] / T) || softmax(z_s / T))``, where M[y] is the mean of the teacher's
    logits over the rows of class y. One number per pair of classes has less noise than one
    row, and a single wrong row hardly moves it.

    The means come from the training itself or from a file:

    * In a runner, each call in training adds its batch and gives 0 until ``collect_epochs``
      are over, or ``collect_iters`` iterations; then the means stand and the term starts. The
      sums of a batch are added up over all ranks. The means, their counts and how far
      collecting is are buffers, so a resumed run goes on exactly.
    * ``class_means`` names a file that ``tools/class_means.py`` wrote: the term is on from
      the first step.
    * :meth:`update` adds a batch by hand; from then on the loss no longer collects by itself.
    * Without a runner nobody knows when an epoch ends: use :meth:`update`, or give
      ``collect_iters``, or call the loss, which then collects until :meth:`finish`.

    A row whose class was never seen costs 0. The loss logs ``seen``, the share of rows that
    the term counts.

    Args:
        num_classes (int): C, the background included where the logits have it.
        temperature (float): T. Defaults to 1.0.
        collect_epochs (int): Epochs to collect over, 1 or more. Defaults to 1, as published.
        loss_weight (float): Defaults to 6.5, the published one.
        collect_iters (int, optional): Iterations to collect over, 1 or more, instead of epochs.
        class_means (str | Path, optional): File with the means. In a distilled model it has to
            be of its teacher, and follows the teacher's ``class_map``.
        only_right (bool): Collect the rows alone on which the teacher is right: both papers
            in one (ours). Defaults to False.
        background (bool): In detection, whether rows of the last class, the background, take
            part; if not, they are neither collected nor cost anything. Defaults to True.

    Raises:
        ConfigError: A value is out of its range, or the file is missing, is no such file, or
            has other classes or no rows.

    Attributes:
        class_means (Tensor): (C, C) float64 buffer, row y the mean logits of class y.
        class_counts (Tensor): Rows of each class so far, (C,) float64 buffer.
        collected (Tensor): Iterations collected so far, -1 when it is over; scalar int64 buffer.
        class_names (tuple[str] | None): Without the background's, where a file tells them.
        collects_every (int): Iterations that a call stands for: the ``every`` of its site.
    """

    hosts = False
    collects_every = 1
    class_means: Tensor
    class_counts: Tensor
    collected: Tensor

    def __init__(
        self,
        num_classes: int,
        temperature: float = 1.0,
        collect_epochs: int = 1,
        loss_weight: float = 6.5,
        *,
        collect_iters: int | None = None,
        class_means: str | Path | None = None,
        only_right: bool = False,
        background: bool = True,
    ) -> None:
        super().__init__(loss_weight)
        check_positive(temperature=temperature)
        check_whole('num_classes', num_classes, least=2)
        check_whole('collect_epochs', collect_epochs, least=0)
        check_whole('collect_iters', collect_iters, least=0, optional=True)
        check_bool(only_right=only_right, background=background)
        if class_means is None:
            check_collects(collect_epochs, collect_iters)
        self.num_classes = num_classes
        self.temperature = temperature
        self.collect_epochs = collect_epochs
        self.collect_iters = collect_iters
        self.only_right = only_right
        self.background = background
        self.register_buffer('class_means', torch.zeros(num_classes, num_classes).double())
        self.register_buffer('class_counts', torch.zeros(num_classes).double())
        self.register_buffer('collected', torch.zeros((), dtype=torch.int64))
        # The host's copy of `collected`: reading a buffer waits for the device.
        self._collected = 0
        self._last_iteration: int | None = None
        self._unmapped = False
        self.class_names: tuple[str, ...] | None = None
        self._file = None if class_means is None else read_class_means(class_means)
        if self._file is not None:
            self._take(self._file, mapped_later=self._file.header is not None)
            self.finish()

    def follow_teacher(self, teacher: Model) -> None:
        """Hold the file of means against the teacher, and put it into the student's classes.

        Args:
            teacher (Teacher | CachedTeacher): With ``classes``, ``class_map`` and
                ``provenance()``.

        Raises:
            ConfigError: The file is of another teacher, or has not the student's classes.
        """
        if self._file is None:
            return
        check_class_means(self._file, teacher.provenance())
        self._take(self._file.for_student(teacher.classes, teacher.class_map))

    def _take(self, file: ClassMeans, mapped_later: bool = False) -> None:
        """Copy the means of a file; those of more classes can wait for a teacher's map."""
        count = len(file.counts)
        self._unmapped = count > self.num_classes and mapped_later
        self.class_names = file.classes
        if count == self.num_classes:
            check_has_rows(file, self.background)
            self.class_means.copy_(file.means)
            self.class_counts.copy_(file.counts)
        elif not self._unmapped:
            raise ConfigError(
                f'class_means: {file.path!r} has class_means of shape {(count, count)}; valid: '
                f'{(self.num_classes,) * 2}, for num_classes={self.num_classes}'
            )

    def update(self, teacher_logits: Tensor, labels: Tensor) -> None:
        """Add a batch, of all ranks together, to the means; they are in the caller's hands now.

        Args:
            teacher_logits (Tensor): (N, C).
            labels (Tensor): (N,).
        """
        self.finish()
        self._add(as_float(teacher_logits), self.class_indices(labels, teacher_logits))

    def finish(self) -> None:
        """End collecting; from now on the loss gives the term."""
        self._set_collected(FINISHED)

    def per_row(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        labels: Tensor,
        counted: Tensor | None = None,
    ) -> Tensor:
        """The term with the means as they are; see :meth:`LogitLoss.per_row`.

        Args:
            student_logits (Tensor): (N, C).
            teacher_logits (Tensor): Not read.
            labels (Tensor): (N,).
            counted (Tensor, optional): Rows that count, (N,) bool; the others cost 0. None means
                all.

        Returns:
            Tensor: (N,).
        """
        dtype = torch.promote_types(student_logits.dtype, torch.float32)
        target = self.class_means.index_select(0, labels).to(dtype)
        seen = (self.class_counts.index_select(0, labels) > 0).to(dtype)
        if not self.background:
            seen = seen * (labels < self.num_classes - 1)
        if counted is not None:
            seen = seen * counted
        self.log_vars = {'seen': seen.sum() / count_rows(seen, counted)}
        return kl_of_logits(student_logits, target, self.temperature) * seen

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        labels: Tensor | None = None,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
        progress: float | Tensor | None = None,
        counted: Tensor | None = None,
        **extra: Any,
    ) -> Tensor:
        """Collect, or give the term; see :meth:`LogitLoss.forward`.

        Raises:
            ValueError: The logits have other classes than ``num_classes``.
            RuntimeError: Collecting would last as long as the training, or the means are of more
                classes and nothing says which to take.
        """
        if student_logits.shape[1] != self.num_classes:
            raise ValueError(
                f'IKDLoss was built with num_classes={self.num_classes}, but the logits have '
                f'{student_logits.shape[1]} classes'
            )
        if self._unmapped and self._file is not None:
            raise RuntimeError(
                f'IKDLoss: {self._file.path} has means of {len(self._file.counts)} classes, and no '
                f'teacher with a class_map says which of them are the {self.num_classes} of the '
                'logits'
            )
        if labels is not None:
            labels = self.class_indices(labels, student_logits)
            collecting = self.training and self._collected != FINISHED
            if collecting and self._collect(teacher_logits, labels, counted):
                # No columns: an exact 0 whose gradient is 0, whatever the logits hold.
                rows = as_float(student_logits[:, :0].sum(dim=1))
                return self.reduce(rows, weight, avg_factor, reduction_override, counted)
        return super().forward(
            student_logits,
            teacher_logits,
            labels,
            weight,
            avg_factor,
            reduction_override,
            progress,
            counted,
        )

    @torch.no_grad()
    def _add(self, teacher_logits: Tensor, labels: Tensor, counted: Tensor | None = None) -> None:
        # One infinite row would leave its class without a mean for ever.
        kept = teacher_logits.isfinite().all(dim=1)
        if self.only_right:
            kept = kept & is_right(teacher_logits, labels)
        if not self.background:
            kept = kept & (labels < self.num_classes - 1)
        if counted is not None:
            kept = kept & counted
        add_rows(self.class_means, self.class_counts, bounded(teacher_logits), labels, kept)

    @torch.compiler.disable
    def _collect(self, teacher_logits: Tensor, labels: Tensor, counted: Tensor | None) -> bool:
        """Add the batch if collecting is not over; whether it was added."""
        iteration = current_iteration()
        # A model may call the loss several times in an iteration, which counts once.
        if iteration is None or iteration != self._last_iteration:
            needed = self._iterations_needed()
            if needed is not None and self._collected >= needed:
                self.finish()
                self._warn_if_nothing_was_collected()
                return False
            self._set_collected(self._collected + self.collects_every)
            self._last_iteration = iteration
        self._add(as_float(teacher_logits), labels, counted)
        return True

    def _warn_if_nothing_was_collected(self) -> None:
        # Waits for the device, once in a training.
        if not bool((self.class_counts > 0).any()):
            print_log(
                'IKDLoss: no row of any class was collected, so that the term stays 0 (with '
                'only_right the teacher was right nowhere; with background=False no row was an '
                'object)',
                'current',
                logging.WARNING,
            )

    def _iterations_needed(self) -> int | None:
        """Iterations to collect over, or None where neither config nor runner tells."""
        needed = self.collect_iters
        if needed is None:
            epoch = iterations_per_epoch()
            needed = None if epoch is None else self.collect_epochs * epoch
        (max_iters,) = runner_info('max_iters')
        if needed is not None and max_iters and needed >= max_iters:
            raise RuntimeError(
                f'IKDLoss would collect over {needed} iterations of a training that has '
                f'{max_iters}, and never start. Set collect_iters to fewer, or class_means to '
                'a file that tools/class_means.py wrote'
            )
        return needed

    def _set_collected(self, iterations: int) -> None:
        self._collected = iterations
        self.collected.fill_(iterations)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._collected = int(self.collected)
