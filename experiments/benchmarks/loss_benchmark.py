"""What BTKD costs beside its host, and what a loop over the rows would cost."""

import copy
import statistics

import torch

from btkd_det.bias import rectify
from btkd_det.config.distilled_types import TWO_STAGE
from btkd_det.config.presets import btkd, loss_of, robust
from btkd_det.losses import LogitLoss
from btkd_det.registry import build

from .measure import (
    alternate,
    clock_of,
    count_operators,
    environment,
    on_threads,
    quartiles,
    summary,
)

#: Rows of one image's RoIs up to those of all its anchors; two classes, Pascal VOC, COCO and LVIS.
ROWS = (256, 512, 1024, 4096, 100_000)
CLASSES = (2, 20, 81, 1203)
#: A tensor of more elements would make the largest shape take more than 4 GB.
MOST_ELEMENTS = 20_000_000
SHAPES = tuple((n, c) for n in ROWS for c in CLASSES if n * c <= MOST_ELEMENTS)
#: The loop is written for the published form, and takes its time.
SHAPES_OF_LOOP = ((512, 81), (1024, 81))
PROGRESS = 0.25
TEMPERATURE = 1.0
#: As the presets put them at RoIs.
LOSSES = {
    'host': loss_of('kd at rois'),
    'btkd-paper': btkd('kd at rois'),
    'btkd': robust('kd at rois', TWO_STAGE),
}


def add_arguments(parser):
    """Give an argument parser what :func:`run` takes.

    Args:
        parser (argparse.ArgumentParser): Of the command.
    """
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--rounds', type=int, default=200, help='fewer for large shapes')
    parser.add_argument('--threads', type=int, help='of PyTorch on the CPU')
    parser.add_argument('--compile', action='store_true', help='compile host and BTKD')
    parser.add_argument('--wrong', type=float, default=0.3, help='share of rows the teacher misses')
    parser.add_argument(
        '--shapes', type=_shape, nargs='+', default=SHAPES, metavar='NxC', help='such as 512x81'
    )


def run(device='cpu', rounds=200, threads=None, compile=False, wrong=0.3, shapes=SHAPES, seed=0):
    """Time forward and backward of KD alone, of BTKD around it, and of BTKD row by row.

    Args:
        device (str): ``'cpu'`` or ``'cuda'``.
        rounds (int): Counted calls of host and BTKD, fewer of more than 100,000 logits, ten at
            least; the loop gets a tenth of them.
        threads (int, optional): PyTorch's threads on the CPU; as they are by default. The time of
            one is its CPU time, to which other programs of the machine add nothing.
        compile (bool): Compile host and BTKD with ``torch.compile``. Defaults to False.
        wrong (float): Share of rows on which the teacher is wrong. Defaults to 0.3.
        shapes (Iterable[tuple[int, int]]): Rows and classes.
        seed (int): Of logits and labels.

    Returns:
        dict: ``setting``, ``environment``, ``operators`` of a step of each loss, and for each
        shape the seconds of each candidate, the ratios of BTKD to its host in each round, as
        median and quartiles, and the ratio of medians of the loop and BTKD.
    """
    with on_threads(threads):
        found, clock = environment(device), clock_of(device).__name__
        operators = {name: count_operators(_step(_build(name, 'meta'), 'meta')) for name in LOSSES}
        results = [_compare(*shape, device, rounds, compile, wrong, seed) for shape in shapes]
    return dict(
        setting=dict(
            losses=LOSSES,
            wrong_rows=wrong,
            rounds=rounds,
            clock=clock,
            compiled=compile,
            seed=seed,
        ),
        environment=found,
        operators=operators,
        shapes=results,
    )


def row_by_row(student, teacher, labels, progress, temperature):
    """BTKD with swap as one writes it down first: a loop that sorts and rectifies the rows.

    Args:
        student (Tensor): (N, C).
        teacher (Tensor): (N, C).
        labels (Tensor): (N,).
        progress (float): e / E.
        temperature (float): T.

    Returns:
        Tensor: The loss, a scalar.
    """
    predicted = teacher.argmax(dim=1)
    rows, targets = ([], []), []
    for i in range(len(labels)):
        wrong = predicted[i] != labels[i]
        rows[int(wrong)].append(i)
        if wrong:
            target = teacher[i].clone()
            target[labels[i]], target[predicted[i]] = (
                teacher[i, predicted[i]],
                teacher[i, labels[i]],
            )
            targets.append(target)
    angle = torch.tensor(progress * torch.pi / 2)
    total = 0
    if rows[0]:
        easy = _divergence(student[rows[0]], teacher[rows[0]], temperature)
        total = total + angle.cos() ** 2 * easy
    if rows[1]:
        hard = _divergence(student[rows[1]], torch.stack(targets), temperature)
        total = total + angle.sin() ** 2 * hard
    return total


def _divergence(student, teacher, temperature):
    log_student = (student / temperature).log_softmax(dim=1)
    target = (teacher / temperature).softmax(dim=1)
    divergence = torch.nn.functional.kl_div(log_student, target, reduction='batchmean')
    return divergence * temperature**2


def _build(name, device):
    """A loss of :data:`LOSSES` as a function of logits and labels."""
    loss = build(copy.deepcopy(LOSSES[name]), name, LogitLoss).to(device)
    return loss if name == 'host' else lambda *batch: loss(*batch, progress=PROGRESS)


def _step(call, device, batch=None):
    """Forward and backward, a function of the number of the round."""
    student, teacher, labels = batch or _logits(8, 5, device, 0.3, 0)

    def run(_=None):
        student.grad = None
        call(student, teacher, labels).backward()

    return run


def _compare(size, classes, device, rounds, compile, wrong, seed):
    batch = _logits(size, classes, device, wrong, seed)
    calls = {name: _build(name, device) for name in LOSSES}
    loop = lambda *batch: row_by_row(*batch, PROGRESS, TEMPERATURE)
    if compile:
        calls = {name: torch.compile(call) for name, call in calls.items()}
    rounds = max(min(rounds, rounds * 100_000 // (size * classes)), 10)
    timed = dict(warmup=max(rounds // 10, 3), device=device, clock=clock_of(device))
    seconds = alternate({n: _step(c, device, batch) for n, c in calls.items()}, rounds, **timed)
    host = seconds['host']
    ratios = {
        name: quartiles([own / alone for own, alone in zip(seconds[name], host, strict=True)])
        for name in LOSSES
        if name != 'host'
    }
    result = dict(rows=size, classes=classes, rounds=rounds)
    if (size, classes) in SHAPES_OF_LOOP:
        values = [call(*batch).item() for call in (loop, _build('btkd-paper', device))]
        if abs(values[0] / values[1] - 1) > 1e-4:
            raise RuntimeError(f'the loop and the loss disagree: {values}')
        slow = dict(timed, warmup=1)
        seconds |= alternate(
            {'row by row': _step(loop, device, batch)}, max(rounds // 10, 3), **slow
        )
        medians = [statistics.median(seconds[name]) for name in ('row by row', 'btkd-paper')]
        result['loop_to_btkd'] = round(medians[0] / medians[1], 2)
    return dict(
        **result,
        seconds={name: summary(values) for name, values in seconds.items()},
        btkd_to_host={name: values['median'] for name, values in ratios.items()},
        quartiles_of_btkd_to_host=ratios,
    )


def _shape(text):
    rows, _, classes = text.partition('x')
    return int(rows), int(classes)


def _logits(size, classes, device, wrong, seed):
    """Random logits; the teacher misses the given share of the labels."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, size, classes, generator=generator) * 3
    labels = torch.randint(0, classes, (size,), generator=generator)
    told = torch.rand(size, generator=generator) >= wrong
    teacher = torch.where(told.unsqueeze(1), rectify(teacher, labels), teacher)
    return student.to(device).requires_grad_(), teacher.to(device), labels.to(device)
