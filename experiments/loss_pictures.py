"""Draw what each loss between logits does to one row: where it pushes the student's logits.

    python -m experiments.loss_pictures [--out docs/pictures/losses]

Two rows of five classes, with one student: on the first the teacher is right, on the second it
prefers another class than the label. The push is minus the gradient of the row's loss; what it adds
up to over the classes is 0 for losses of a softmax.
"""

import argparse
from pathlib import Path

import torch
from matplotlib import pyplot as plt
from torch import Tensor

from btkd_det.losses import LogitLoss
from btkd_det.registry import MODELS

LABEL = 1
STUDENT = (0.5, 1.0, 1.5, 0.0, -0.5)
TEACHERS = {
    'The teacher is right': (1.0, 3.0, 2.0, -0.5, -1.0),
    'The teacher is wrong': (1.0, 2.0, 3.0, -0.5, -1.0),
}
#: What is drawn into each picture: a heading, the loss, the progress of the training.
PICTURES: dict[str, list[tuple[str, dict, float]]] = {
    'KDLoss': [('T = 1', dict(temperature=1.0), 0), ('T = 4', dict(temperature=4.0), 0)],
    'DKDLoss': [('alpha 1, beta 8, T = 4', dict(), 0)],
    'NKDLoss': [('gamma 1.5', dict(), 0)],
    'WTTMLoss': [('gamma 0.3', dict(), 0)],
    'DISTLoss': [('T = 1', dict(), 0)],
    'RLDLoss': [('alpha 1, beta 8', dict(), 0)],
    'WSLDLoss': [('T = 2', dict(), 0)],
    'BinaryKDLoss': [('sigmoid of each class', dict(), 0)],
    'IKDLoss': [('mean of the label’s class', dict(num_classes=5, loss_weight=1.0), 0)],
    'BTKDLoss': [
        ('swap, training begins', dict(), 0.0),
        ('swap, training ends', dict(), 1.0),
        ('posterior, no schedule', dict(rectify='posterior', schedule='none'), 0.5),
    ],
}
BLUE, ORANGE, GRAY = '#3b6fb6', '#d9822b', '#8a8a8a'


def push(loss: LogitLoss, teacher: Tensor, progress: float) -> Tensor:
    """Minus the gradient of the loss of one row.

    Args:
        loss (LogitLoss): In evaluation mode nothing is collected.
        teacher (Tensor): (C,) logits.
        progress (float): e / E.

    Returns:
        Tensor: (C,).
    """
    student = torch.tensor([STUDENT], requires_grad=True)
    labels = torch.tensor([LABEL])
    inputs = dict(progress=progress) if 'progress' in loss.extra_inputs else {}
    loss(student, teacher[None], labels, **inputs).backward()
    return -student.grad[0]


def build(name: str, options: dict) -> LogitLoss:
    """The loss; IKD's means are a class whose every row looks like a teacher that is right."""
    loss = MODELS.build(dict(type=f'btkd_det.{name}', **options))
    if name == 'IKDLoss':
        right = torch.tensor(TEACHERS['The teacher is right'])
        loss.update(right.expand(5, 5), torch.arange(5))
    return loss


def draw(name: str, path: Path) -> None:
    """Write the picture of a loss: probabilities on the left, the pushes beside them."""
    rows = PICTURES[name]
    figure, axes = plt.subplots(
        2, 1 + len(rows), figsize=(2.6 * (1 + len(rows)), 3.6), sharey='col', layout='constrained'
    )
    classes = range(len(STUDENT))
    for (title, values), (left, *others) in zip(TEACHERS.items(), axes, strict=True):
        teacher = torch.tensor(values)
        left.bar([c - 0.2 for c in classes], teacher.softmax(0), 0.4, color=BLUE, label='teacher')
        student = torch.tensor(STUDENT).softmax(0)
        left.bar([c + 0.2 for c in classes], student, 0.4, color=ORANGE, label='student')
        left.set_title(title, fontsize=9)
        for axis, (heading, options, progress) in zip(others, rows, strict=True):
            axis.bar(classes, push(build(name, options), teacher, progress), 0.6, color=GRAY)
            axis.axhline(0, color='black', linewidth=0.6)
            axis.set_title(heading, fontsize=9)
    for axis in axes.flat:
        axis.set_xticks(classes, ['label' if c == LABEL else '' for c in classes], fontsize=8)
        axis.tick_params(labelsize=8)
        axis.spines[['top', 'right']].set_visible(False)
    axes[0, 0].legend(fontsize=8, frameon=False)
    axes[0, 0].set_ylabel('probability', fontsize=8)
    axes[1, 0].set_ylabel('probability', fontsize=8)
    for axis in axes[:, 1]:
        axis.set_ylabel('push on the logit', fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Draw all of them."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--out', metavar='DIR', default='docs/pictures/losses')
    folder = Path(parser.parse_args().out)
    for name in PICTURES:
        draw(name, folder / f'{name}.png')
        print(folder / f'{name}.png')


if __name__ == '__main__':
    main()
