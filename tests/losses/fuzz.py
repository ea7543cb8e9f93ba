"""Losses on what no training should give them: finite for finite input, or a clear error.

    python -m tests.losses.fuzz [--count 100000] [--seed 0] [--out docs/reliability/losses.json]

A case draws a loss, a number of rows and of classes, a precision, sizes from 0 to the largest
number of the precision, a pattern, labels and rows that count. Maps of features are drawn up to
1e15: the squares of larger ones are beyond float32, and a training ends there with the term's name.
"""

import argparse
import collections
import json
import random
import sys
import warnings
from pathlib import Path

import torch

from btkd_det.losses import BoxLoss, CWDLoss, DistributionLoss, FitNetLoss, PKDLoss, ReviewKDLoss

from .every import BINARY, LOSSES, call

SIZES = (0.0, 1e-38, 1e-4, 1.0, 30.0, 1e4, 1e15, 1e30, 1e38, 3.4e38)
MAP_SIZES = SIZES[:7]
PATTERNS = ('normal', 'constant', 'one', 'equal', 'alternating', 'rows')
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
FEATURES = {
    'fitnet': FitNetLoss,
    'pkd': PKDLoss,
    'cwd': CWDLoss,
    'reviewkd': lambda: ReviewKDLoss(mid_channels=4),
}
BOXES = {'box': BoxLoss, 'distribution': DistributionLoss}
ALL = (*LOSSES, *BINARY, *FEATURES, *BOXES)


def values(rng: random.Random, shape: tuple, sizes=SIZES, dtype=torch.float32) -> torch.Tensor:
    """A tensor of a random size and pattern, finite in ``dtype``."""
    generator = torch.Generator().manual_seed(rng.randrange(2**31))
    size, pattern = rng.choice(sizes), rng.choice(PATTERNS)
    found = torch.randn(shape, generator=generator, dtype=torch.float64)
    if pattern == 'constant':
        found = torch.ones(shape, dtype=torch.float64) * rng.choice((-1, 1))
    elif pattern == 'one' and found.numel():
        found = torch.zeros(shape, dtype=torch.float64)
        found.view(-1)[rng.randrange(found.numel())] = rng.choice((-1, 1))
    elif pattern == 'equal' and len(found):
        found = found[:1].expand(shape).clone()
    elif pattern == 'alternating':
        found = found.sign()
    elif pattern == 'rows' and len(found):
        found[rng.randrange(len(found))] *= 1e6
    limit = min(torch.finfo(dtype).max, max(sizes))
    return (found * size).clamp(-limit, limit).to(dtype).clone()


def run(name: str, rng: random.Random) -> str | None:
    """One case; gives what is wrong with it, or None."""
    dtype = rng.choice(DTYPES)
    if name in FEATURES:
        value, student = _features(name, rng, dtype)
    elif name in BOXES:
        value, student = _boxes(name, rng, dtype)
    else:
        value, student = _logits(name, rng, dtype)
    if not value.isfinite():
        return f'{name}, {dtype}: the loss is {value.item()}'
    value.backward()
    # In half precision the gradient of a row's loss may be beyond what the type holds, as any
    # loss's: mixed precision scales it.
    if not student.grad.isfinite().all() and dtype != torch.float16:
        return f'{name}, {dtype}: the gradient is not finite'
    return None


def _logits(name, rng, dtype):
    rows, classes = rng.choice((0, 1, 2, 7, 40)), rng.choice((2, 3, 7, 81))
    student = values(rng, (rows, classes), dtype=dtype).requires_grad_()
    teacher = values(rng, (rows, classes), dtype=dtype)
    if rng.random() < 0.2:
        teacher = student.detach().clone()
    labels = torch.tensor([rng.randrange(classes) for _ in range(rows)], dtype=torch.long)
    labels = labels.to(rng.choice((torch.int64, torch.int32, torch.uint8)))
    counted = None
    if rng.random() < 0.4:
        counted = torch.tensor([rng.random() < 0.5 for _ in range(rows)], dtype=torch.bool)
    loss = {**LOSSES, **BINARY}[name](classes)
    extra = {}
    if 'foreground' in loss.extra_inputs and rng.random() < 0.5:
        extra['foreground'] = labels < classes - 1
    loss(student, teacher, labels, counted=counted, progress=rng.random(), **extra)
    return call(loss, student, teacher, labels, counted=counted, **extra), student


def _features(name, rng, dtype):
    shape = (rng.choice((1, 2)), 4, rng.choice((1, 3, 8)), rng.choice((1, 5)))
    loss = FEATURES[name]()
    loss.fit([shape[1:]], [shape[1:]])
    student = values(rng, shape, MAP_SIZES, dtype).requires_grad_()
    teacher = values(rng, shape, MAP_SIZES, dtype)
    # The layers of a loss are of float32; autocast takes care of them in a training.
    if name == 'reviewkd':
        leaf = student.detach().float().requires_grad_()
        return loss([leaf], [teacher.float()]), leaf
    return loss([student], [teacher]), student


def _boxes(name, rng, dtype):
    rows = rng.choice((0, 1, 9))
    foreground = torch.tensor([rng.random() < 0.5 for _ in range(rows)], dtype=torch.bool)
    width = 4 if name == 'box' else 4 * 9
    student = values(rng, (rows, width), MAP_SIZES, dtype).requires_grad_()
    teacher = values(rng, (rows, width), MAP_SIZES, dtype)
    if name == 'distribution':
        return DistributionLoss()(student, teacher, foreground), student
    truth = values(rng, (rows, 4), MAP_SIZES, dtype)
    return BoxLoss()(student, teacher, truth, torch.rand(rows), foreground), student


def fuzz(count: int, seed: int = 0, show=lambda line: None) -> dict:
    """So many cases; what was wrong, by loss."""
    faults, cases = collections.Counter(), collections.Counter()
    for number in range(count):
        name = ALL[number % len(ALL)]
        rng = random.Random(f'{seed} {number}')
        try:
            fault = run(name, rng)
        except Exception as error:
            fault = f'{name}: {type(error).__name__}: {error}'
        cases[name] += 1
        if fault is not None:
            faults[name] += 1
            show(f'{number}: {fault}')
    return dict(cases=dict(cases), faults=dict(faults))


def main() -> int:
    from experiments.benchmarks.measure import environment

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--count', type=int, default=100_000)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    torch.set_num_threads(1)
    found = fuzz(args.count, args.seed, lambda line: print(line, flush=True))
    wrong = sum(found['faults'].values())
    print(f'{args.count} cases of {len(ALL)} losses: {wrong} wrong')
    if args.out:
        command = f'python -m tests.losses.fuzz --count {args.count} --seed {args.seed}'
        result = dict(command=command, environment=environment(), wrong=wrong, **found)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + '\n')
    return int(wrong > 0)


if __name__ == '__main__':
    sys.exit(main())
