"""Where a training that counts iterations stands in its data."""

import itertools
from functools import partial
from typing import Any

from mmengine.dataset import InfiniteSampler, worker_init_fn
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import BatchSampler

#: In the checkpoint's hub, see :func:`repeated_iterations`.
REPEATED = 'btkd_det_repeated_iterations'


def counts_iterations(runner: Runner) -> bool:
    """bool: Whether the training is one of iterations, without epochs."""
    return isinstance(runner.train_loop, IterBasedTrainLoop)


def repeated_iterations(runner: Runner) -> int:
    """Iterations of epochs that were begun and left, which are counted beside those of whole ones.

    Args:
        runner (Runner): Whose training counts epochs.

    Returns:
        int: As the checkpoint that it was resumed from says.
    """
    return runner.message_hub.get_info(REPEATED) or 0


def restart_stream(runner: Runner, iterations: int, resumed: bool = False) -> bool:
    """Begin the batches anew at a place that depends on the number of iterations alone.

    The workers start with random numbers of their own for this place, so that a run that is
    resumed there draws what the run that went on draws.

    Args:
        runner (Runner): Whose training counts iterations.
        iterations (int): Batches that each rank has had so far.
        resumed (bool): Whether the loop has not begun yet, and would walk there itself.

    Returns:
        bool: Whether it could; only with ``InfiniteSampler`` and batches of a fixed size, which
        PyTorch's batch sampler makes, or MMDetection's by aspect ratio.
    """
    loader, loop = runner.train_dataloader, runner.train_loop
    batches = loader.batch_sampler
    sampler, size = getattr(batches, 'sampler', None), getattr(batches, 'batch_size', None)
    if not isinstance(sampler, InfiniteSampler) or not isinstance(size, int):
        return False
    if not _begins_anew(batches):
        return False
    sampler.indices = itertools.islice(sampler._indices_of_rank(), iterations * size, None)
    seed_workers(runner, iterations)
    kind = loop.dataloader_iterator
    kind = kind.kind if isinstance(kind, _Positioned) else type(kind)
    walked = iterations if resumed and not hasattr(kind, 'skip_iter') else 0
    loop.dataloader_iterator = _Positioned(kind, loader, walked)
    return True


def _begins_anew(batches: Any) -> bool:
    """Whether a batch sampler can be left in the middle; what it has gathered is given up then.

    MMDetection's groups images by their aspect ratio in buckets of its own, and never empties one
    that it was left with.
    """
    buckets = getattr(batches, '_aspect_ratio_buckets', None)
    if buckets is not None:
        batches._aspect_ratio_buckets = [[] for _ in buckets]
        return True
    return type(batches) is BatchSampler


def seed_workers(runner: Runner, number: int) -> None:
    """Have the workers that start next begin with random numbers of their own.

    Args:
        runner (Runner): Its loader's ``worker_init_fn`` is changed, unless it is the config's own.
        number (int): Of the epoch or the iteration. 0 is the seed that MMEngine begins with.
    """
    loader, seed = runner.train_dataloader, runner.seed
    if getattr(loader, 'persistent_workers', False):
        # Where PyTorch keeps them; as MMDetection's YOLOXModeSwitchHook does.
        loader._iterator = None
    start = getattr(loader, 'worker_init_fn', None)
    if isinstance(start, partial) and start.func is worker_init_fn:
        # No two workers of a run share a seed. MMEngine counts workers within ranks, and
        # diff_rank_seed adds the rank once more.
        seed += number * (loader.num_workers + 1) * runner.world_size
        loader.worker_init_fn = partial(start, seed=seed)


class _Positioned:
    """The loop's iterator over a loader that stands where training goes on.

    Args:
        kind (type): MMEngine's iterator.
        loader (DataLoader): To iterate over.
        walked (int): Batches that the loop will ask for and throw away, to get there itself:
            MMEngine before 0.11 does so. They are not loaded.
    """

    def __init__(self, kind: type, loader: str, walked: int) -> None:
        self.kind, self._loader, self._walked = kind, loader, walked
        self._iterator = None

    def skip_iter(self, number: Any) -> None:
        """Nothing: it stands there already."""

    def __iter__(self) -> '_Positioned':
        return self

    def __next__(self) -> Any:
        if self._walked > 0:
            self._walked -= 1
            return None
        if self._iterator is None:
            self._iterator = iter(self.kind(self._loader))
        return next(self._iterator)
