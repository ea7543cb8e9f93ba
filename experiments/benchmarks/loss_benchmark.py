"""What BTKD costs beside its host, and what a loop over the rows would cost."""

import statistics

import torch

from btkd_det.bias import rectify
from btkd_det.losses import BTKDLoss, KDLoss

from .measure import alternate, environment, summary

#: RoIs of one and of two images over COCO's classes, batches of an ImageNet classifier.
SHAPES = ((512, 81), (1024, 81), (256, 1000), (2048, 1000))
PROGRESS = 0.25


def add_arguments(parser):
    """Give an argument parser what :func:`run` takes.

    Args:
        parser (argparse.ArgumentParser): Of the command.
    """
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--rounds', type=int, default=200)
    parser.add_argument('--threads', type=int, help='of PyTorch on the CPU')
    parser.add_argument('--compile', action='store_true', help='compile host and BTKD')
    parser.add_argument('--wrong', type=float, default=0.3, help='share of rows the teacher misses')


def run(device='cpu', rounds=200, threads=None, compile=False, wrong=0.3, seed=0):
    """Time forward and backward of KD alone, of BTKD around it, and of BTKD row by row.

    Args:
        device (str): ``'cpu'`` or ``'cuda'``.
        rounds (int): Counted calls of host and BTKD; the loop gets a tenth of them.
        threads (int, optional): PyTorch's threads on the CPU; as they are by default.
        compile (bool): Compile host and BTKD with ``torch.compile``. Defaults to False.
        wrong (float): Share of rows on which the teacher is wrong. Defaults to 0.3.
        seed (int): Of logits and labels.

    Returns:
        dict: ``setting``, ``environment``, and for each shape the seconds of each candidate
        and the two ratios of medians: BTKD to its host, and the loop to BTKD.
    """
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        found = environment(device)
        results = [_compare(*shape, device, rounds, compile, wrong, seed) for shape in SHAPES]
    finally:
        torch.set_num_threads(before)
    return dict(
        setting=dict(
            host='KDLoss(temperature=5)',
            btkd="BTKDLoss(rectify='swap', space='logits', schedule='cosine')",
            wrong_rows=wrong,
            rounds=rounds,
            compiled=compile,
            seed=seed,
        ),
        environment=found,
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


def _compare(size, classes, device, rounds, compile, wrong, seed):
    student, teacher, labels = _logits(size, classes, device, wrong, seed)
    host, btkd = KDLoss(5.0).to(device), BTKDLoss().to(device)
    calls = {
        'host': host,
        'btkd': lambda *batch: btkd(*batch, progress=PROGRESS),
        'row by row': lambda *batch: row_by_row(*batch, PROGRESS, 5.0),
    }
    values = {name: call(student, teacher, labels).item() for name, call in calls.items()}
    if abs(values['row by row'] / values['btkd'] - 1) > 1e-4:
        raise RuntimeError(f'the loop and the loss disagree: {values}')
    if compile:
        calls = {n: c if n == 'row by row' else torch.compile(c) for n, c in calls.items()}

    def step(call):
        def run(_):
            call(student, teacher, labels).backward()

        return run

    steps = {name: step(call) for name, call in calls.items()}
    slow = {'row by row': steps.pop('row by row')}
    seconds = alternate(steps, rounds, warmup=max(rounds // 10, 3), device=device)
    seconds.update(alternate(slow, max(rounds // 10, 3), device=device))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    return dict(
        rows=size,
        classes=classes,
        seconds={name: summary(values) for name, values in seconds.items()},
        btkd_to_host=round(median['btkd'] / median['host'], 3),
        loop_to_btkd=round(median['row by row'] / median['btkd'], 2),
    )


def _logits(size, classes, device, wrong, seed):
    """Random logits; the teacher misses the given share of the labels."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, size, classes, generator=generator) * 3
    labels = torch.randint(0, classes, (size,), generator=generator)
    told = torch.rand(size, generator=generator) >= wrong
    teacher = torch.where(told.unsqueeze(1), rectify(teacher, labels), teacher)
    return student.to(device).requires_grad_(), teacher.to(device), labels.to(device)
