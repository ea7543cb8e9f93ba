"""Timing that can be trusted: runs of what is compared take turns, medians are reported."""

import contextlib
import itertools
import platform
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

import btkd_det


def alternate(candidates, rounds, warmup=2, device='cpu', clock=time.perf_counter):
    """Time several functions in turn, so that a drift of the machine's speed meets all alike.

    Args:
        candidates (dict[str, Callable[[int], None]]): By name; each is called with the number
            of the round.
        rounds (int): Counted calls of each.
        warmup (int): Calls of each that are not counted.
        device (str): ``'cpu'`` or ``'cuda'``; the latter is waited for before and after.
        clock (Callable[[], float]): Gives seconds. Defaults to ``time.perf_counter``.

    Returns:
        dict[str, list[float]]: Seconds of each counted call.
    """
    wait = torch.cuda.synchronize if device == 'cuda' else lambda: None
    seconds = {name: [] for name in candidates}
    for number in range(-warmup, rounds):
        show_progress(number + warmup, warmup + rounds, ', '.join(candidates))
        # Forwards and backwards, so that none always comes after the same other.
        for name, run in list(candidates.items())[:: -1 if number % 2 else 1]:
            wait()
            start = clock()
            run(number)
            wait()
            if number >= 0:
                seconds[name].append(clock() - start)
    return seconds


@contextlib.contextmanager
def on_threads(count):
    """Within this context PyTorch has as many threads on the CPU; as many as before for None."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def clock_of(device):
    """What to time with: of one thread on a CPU its own time, to which other programs add nothing.

    Args:
        device (str): ``'cpu'`` or ``'cuda'``.

    Returns:
        Callable[[], float]: Gives seconds.
    """
    one = device == 'cpu' and torch.get_num_threads() == 1
    return time.thread_time if one else time.perf_counter


def show_progress(done, total, what):
    """One line on the terminal, written over by the next; in a file every fourth part of them.

    Args:
        done (int): Rounds that are over.
        total (int): All rounds.
        what (str): What is measured.
    """
    if sys.stderr.isatty():
        text = f'round {done + 1} of {total}: {what}'
        print(f'\r{text[:99].ljust(99)}', end='', file=sys.stderr, flush=True)
    elif done % max(total // 4, 1) == 0:
        print(f'round {done + 1} of {total}: {what}', file=sys.stderr, flush=True)


def summary(seconds):
    """Minimum, median and maximum of some durations, in seconds to the microsecond."""
    values = min(seconds), statistics.median(seconds), max(seconds)
    return dict(zip(('min', 'median', 'max'), (round(v, 6) for v in values), strict=True))


def quartiles(values):
    """Lower quartile, median and upper quartile, to three places."""
    found = statistics.quantiles(values, n=4, method='inclusive')
    return dict(zip(('lower', 'median', 'upper'), (round(v, 3) for v in found), strict=True))


class _Operators(TorchDispatchMode):
    """Notes every operator of PyTorch that runs, the backward pass included."""

    def __init__(self):
        super().__init__()
        self.noted = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.noted.append(function)
        return function(*args, **(kwargs or {}))


def count_operators(run):
    """Operators that a function calls: on a GPU those that are no views are a kernel each.

    Args:
        run (Callable[[], None]): Of tensors on the device ``'meta'``, so that it takes the way of
            a GPU.

    Returns:
        dict[str, int]: ``all``, and ``kernels``, those without the views.
    """
    with _Operators() as operators:
        run()
    noted = operators.noted
    return dict(all=len(noted), kernels=sum(not operator.is_view for operator in noted))


def environment(device='cpu'):
    """What a result has to say about where it comes from.

    Args:
        device (str): ``'cpu'`` or ``'cuda'``.

    Returns:
        dict[str, str | int]: Machine, versions, commit.
    """
    packages = ('torch', 'torchvision', 'onedl-mmengine', 'onedl-mmdetection', 'mmengine', 'mmdet')
    return dict(
        device=torch.cuda.get_device_name() if device == 'cuda' else _processor(),
        threads=torch.get_num_threads(),
        python=platform.python_version(),
        commit=_commit(),
        **{name: _version(name) for name in packages if _version(name)},
    )


def _processor():
    for line in _lines('/proc/cpuinfo'):
        if line.startswith('model name'):
            return line.partition(':')[2].strip()
    return platform.processor() or platform.machine()


def _lines(path):
    return Path(path).read_text().splitlines() if Path(path).is_file() else []


def _version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit():
    folder = Path(btkd_det.__file__).parents[1]
    command = ['git', '-C', str(folder), 'describe', '--always', '--dirty', '--abbrev=10']
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    return process.stdout.strip() or f'version {btkd_det.__version__}'


def peak_memory(run, device):
    """Bytes that a call holds at its peak, beyond what was held before it.

    Args:
        run (Callable[[int], None]): Called once.
        device (str): ``'cpu'`` or ``'cuda'``.

    Returns:
        int: What PyTorch allocated, without what its libraries keep to themselves.
    """
    if device == 'cuda':
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run(0)
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run(0)
    events = profiled.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == '[memory]')
    held = itertools.accumulate(change for _, change in changes)
    return max(held, default=0)


def allocated(module):
    """Bytes of a module's parameters and buffers."""
    tensors = [*module.parameters(), *module.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
