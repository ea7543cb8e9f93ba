"""A training whose loss is no number any more ends, and says where it began."""

from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch.nn.parallel import DistributedDataParallel

from ..checkpoint.writing import atomic_path
from ..checks import check_whole
from ..errors import NotFiniteError
from ..registry import HOOKS

#: Steps in a row that mixed precision's loss scaling may leave out.
SCALED = 20


@HOOKS.register_module()
class FiniteLossesHook(Hook):
    """Stops a training at the first loss that is infinite or no number.

    Without it a training goes on to its end with weights that are NaN. The error names the terms,
    the iteration and the learning rate; the images and boxes of the batch lie in the work dir as
    ``not_finite_iter_N.pth``. On a GPU what a step gives is looked at after the next one, so that
    nothing waits for the device. With ``AmpOptimWrapper`` the loss scaling leaves a step with
    infinite gradients out, so only 20 in a row end it. ``tools/train.py`` adds this hook.

    Args:
        skip (int): Steps that may be left out, without changing a weight, before the training
            ends. Where gradients are accumulated, the other steps' are still used. Above 0 every
            step waits for its loss. Defaults to 0.

    Raises:
        ConfigError: ``skip`` is no number from 0 on.

    Examples:
        >>> from btkd_det.registry import HOOKS
        >>> hook = HOOKS.build(dict(type='btkd_det.FiniteLossesHook', skip=3))
    """

    # Before a checkpoint of such weights is written.
    priority = 'ABOVE_NORMAL'

    def __init__(self, skip: int = 0) -> None:
        check_whole('FiniteLossesHook.skip', skip, least=0)
        self.skip = skip
        self._skipped = 0
        self._in_a_row = 0
        self._pending = None
        # Steps whose gradients wait for the end of an accumulation.
        self._gathered = 0

    def before_train(self, runner: Runner) -> None:
        """Put the question before the step, where steps may be left out."""
        if self.skip:
            self._guard(runner)

    def after_train_iter(
        self, runner: Runner, batch_idx: Any, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Look at the losses of this step, on a GPU at those of the one before."""
        losses = {
            name: value.detach()
            for name, value in (outputs or {}).items()
            if isinstance(value, torch.Tensor) and 'loss' in name and value.numel() == 1
        }
        before, self._pending = self._pending, None
        if losses:
            finite = torch.stack([value.float().reshape(()) for value in losses.values()])
            rate = runner.optim_wrapper.get_lr()
            seen = list(losses), _Later(finite.isfinite()), data_batch, runner.iter, rate
            # Where steps are left out, the device has been waited for anyway.
            if finite.is_cuda and not self.skip:
                self._pending = seen
            else:
                before = seen
        if before is not None:
            self._judge(runner, *before)

    def after_train(self, runner: Runner) -> None:
        """Look at the last step's."""
        if self._pending is not None:
            self._judge(runner, *self._pending)

    def _judge(
        self, runner: Runner, names: Any, finite: Any, data_batch: Any, iteration: Any, rate: Any
    ) -> None:
        bad = [name for name, good in zip(names, finite.tolist(), strict=True) if not good]
        self._in_a_row = self._in_a_row + 1 if bad else 0
        scaled = hasattr(runner.optim_wrapper, 'loss_scaler')
        if not bad or (scaled and self._in_a_row <= SCALED) or self._skipped:
            return
        self._end(runner, bad, data_batch, iteration, rate)

    def _end(self, runner: Runner, bad: Any, data_batch: Any, iteration: Any, rate: Any) -> None:
        rates = sorted({value for values in rate.values() for value in values})
        named = ', '.join(f'{value:g}' for value in rates[:3])
        where = self._save(runner, data_batch, iteration)
        raise NotFiniteError(
            f'iteration {iteration + 1}: {", ".join(bad)} is infinite or no number, at a learning '
            f'rate of {named}; {where}. Usual causes: a learning rate that is too high, no '
            'clip_grad, boxes without area. custom_hooks: btkd_det.FiniteLossesHook with skip=N '
            'leaves up to N such steps out'
        )

    def _save(self, runner: Runner, data_batch: Any, iteration: Any) -> str:
        """Keep the batch; gives where it is, and the images' names."""
        content = plain_batch(data_batch)
        name = f'not_finite_iter_{iteration + 1}' + ('' if get_rank() == 0 else f'_{get_rank()}')
        path = Path(runner.work_dir, f'{name}.pth')
        images = [Path(str(image)).name for image in content['images'] if image]
        of_images = f', of {", ".join(images[:4])}' if images else ''
        try:
            with atomic_path(path) as part:
                torch.save(content, part)
        except OSError as error:
            return f'its batch{of_images} cannot be saved ({error.strerror})'
        return f'its batch{of_images}, is {path}' if of_images else f'its batch is {path}'

    def _guard(self, runner: Runner) -> None:
        wrapper = runner.optim_wrapper
        step = wrapper.update_params

        def update_params(loss: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            finite = loss.detach().isfinite().all().float()
            all_reduce(finite, 'min')
            if finite:
                self._skipped = 0
                done = step(loss, *args, **kwargs)
                self._gathered = 0 if _is_due(wrapper) else self._gathered + 1
                return done
            self._skipped += 1
            self._leave_out(runner, *args, **kwargs)
            if self._skipped > self.skip:
                self._skipped = 0
            else:
                runner.logger.warning(
                    f'iteration {runner.iter + 1}: the loss is infinite or no number; the step is '
                    f'left out, {self._skipped} of {self.skip} in a row'
                )
            return None

        wrapper.update_params = update_params

    def _leave_out(
        self, runner: Runner, step_kwargs: Any = None, zero_kwargs: Any = None, **_: Any
    ) -> None:
        """Count a step without its gradients; those of the steps before it are used when due."""
        wrapper = runner.optim_wrapper
        if not isinstance(wrapper, OptimWrapper):
            return
        wrapper._inner_count += 1
        if not _is_due(wrapper) or not self._gathered:
            return
        if get_world_size() == 1 or _average_gradients(runner.model, wrapper):
            wrapper.step(**(step_kwargs or {}))
        wrapper.zero_grad(**(zero_kwargs or {}))
        self._gathered = 0


def _is_due(wrapper: Any) -> bool:
    """Whether the step that was counted last ends an accumulation of gradients."""
    return not isinstance(wrapper, OptimWrapper) or wrapper.should_update()


def _average_gradients(model: Any, wrapper: OptimWrapper) -> bool:
    """Do what the backward pass of the step that was left out would have done among processes.

    Gives whether it can be done: where each process holds a part of a weight, it cannot.
    """
    if not isinstance(model, DistributedDataParallel):
        return False
    groups = wrapper.optimizer.param_groups
    params = [p for group in groups for p in group['params'] if p.requires_grad]
    # A process whose images had no use for a weight has no gradient of it.
    used = torch.tensor([p.grad is not None for p in params], device=params[0].device).float()
    all_reduce(used, 'max')
    params = [p for p, is_used in zip(params, used.tolist(), strict=True) if is_used]
    for param in params:
        if param.grad is None:
            param.grad = torch.zeros_like(param)
        all_reduce(param.grad, 'mean')
    return True


class _Later:
    """A tensor of the device that is read when it is there."""

    def __init__(self, tensor: Any) -> None:
        self._copy, self._event = tensor.to('cpu', non_blocking=True), None
        if tensor.is_cuda:
            self._event = torch.cuda.Event()
            self._event.record()

    def tolist(self) -> list[Any]:
        """list: The values; waits for them."""
        if self._event is not None:
            self._event.synchronize()
        return self._copy.tolist()


def plain_batch(data_batch: dict[str, Any] | tuple | list[Any]) -> dict[str, Any]:
    """What of a batch can be looked at again: tensors, numbers and names alone.

    Args:
        data_batch (dict | tuple | list): As a data loader gives it.

    Returns:
        dict: ``inputs``, ``images`` (paths), ``boxes`` and ``labels``, each with one entry an image
        where it is known.
    """
    inputs, samples = data_batch, []
    if isinstance(data_batch, dict):
        inputs, samples = data_batch.get('inputs'), data_batch.get('data_samples') or []
    content = dict(inputs=_tensors(inputs), images=[], boxes=[], labels=[])
    for sample in samples if isinstance(samples, (list, tuple)) else []:
        objects = getattr(sample, 'gt_instances', None)
        boxes = getattr(objects, 'bboxes', None)
        content['images'].append(getattr(sample, 'img_path', None))
        content['boxes'].append(_tensors(getattr(boxes, 'tensor', boxes)))
        labels = getattr(objects, 'labels', getattr(sample, 'gt_label', None))
        content['labels'].append(_tensors(labels))
    return content


def _tensors(value: Any) -> Any:
    """A tensor, or those of a list, on the CPU; None for what is neither."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, (list, tuple)):
        return [_tensors(part) for part in value]
    return None
