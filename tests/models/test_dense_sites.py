"""The losses at a dense head's anchors, computed once more from the host's own targets."""

import copy
import math

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, kl_divergence

from btkd_det.bias import rectify
from btkd_det.errors import ConfigError
from btkd_det.sites.dense_logits import with_background
from tests.conftest import build_detector, detection_batch
from tests.single_stage import CONFIGS, distilled, save, step, tiny

NUM_CLASSES = 3
BINARY = dict(type='btkd_det.BinaryKDLoss', temperature=2.0)
BTKD = dict(type='btkd_det.BTKDLoss', loss=BINARY)
SIDES = dict(type='btkd_det.DistributionLoss', temperature=10.0, loss_weight=0.25)

#: Where each head's ``get_targets`` has the labels and their weights, level by level.
TARGETS = dict(RetinaNet=(0, 1), FCOS=(0, None), ATSS=(1, 2), GFL=(1, 2), RTMDet=(1, 2))

pytestmark = pytest.mark.usefixtures('progress')


def talkative(head, seed):
    """Let a new head say something of its own at each anchor, of each class."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            if 'cls' in name and parameter.shape == (head.num_base_priors * NUM_CLASSES,):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) - 0.7)
            elif parameter.dim() == 4 and name.split('.')[0].endswith(('_cls', '_reg')):
                # Of the last layers, which start close to 0.
                parameter.mul_(30)


def gathered(maps, width):
    """(R, width) of one level: every image, row, column and anchor, the last ones fastest."""
    return maps.unflatten(1, (-1, width)).permute(0, 3, 4, 1, 2).flatten(0, 3)


class Scene:
    """One step of a distilled detector, and all that its losses have to come from.

    Attributes:
        log (dict[str, Tensor]): What the step logged.
        student, teacher (list[list[Tensor]]): The maps that the heads gave.
        labels, weights (list[Tensor]): The host's targets, (R_l,) for each level.
    """

    def __init__(self, name, sites, folder, class_map=None):
        config = tiny(name)
        if name != 'RTMDet':
            config.backbone.norm_eval = True
        save(config, folder / 'teacher.pth', seed=6)
        config = distilled(config, config, folder / 'teacher.pth', sites)
        config['teacher']['class_map'] = class_map
        model = build_detector(config)
        teacher = model.teacher.model
        talkative(model.bbox_head, 1)
        talkative(teacher.bbox_head, 2)
        told, ask = [], model.bbox_head.get_targets
        model.bbox_head.get_targets = lambda *args, **kwargs: (
            told.append(ask(*args, **kwargs)) or told[-1]
        )
        self.log = step(model)
        images = model.data_preprocessor(copy.deepcopy(detection_batch()), True)['inputs']
        with torch.no_grad():
            self.student, self.teacher = (
                part.bbox_head(part.extract_feat(images)) for part in (model, teacher)
            )
        labels, weights = TARGETS[name]
        self.labels = [part.reshape(-1) for part in told[0][labels]]
        self.weights = [torch.ones(part.shape) for part in self.labels]
        if weights is not None:
            self.weights = [part.reshape(-1) for part in told[0][weights]]

    def rows(self, kind, width):
        """Rows of student and teacher, labels and weights, of all levels."""
        outputs = [
            torch.cat([gathered(maps, width) for maps in side[kind]])
            for side in (self.student, self.teacher)
        ]
        return *outputs, torch.cat(self.labels), torch.cat(self.weights)


def binary_costs(student, target):
    """KL of Bernoullis at temperature 2, summed over the classes, (R,)."""
    target, student = (Bernoulli(logits=logits / 2) for logits in (target, student))
    return 4 * kl_divergence(target, student).sum(dim=1)


def btkd(student, teacher, labels, foreground_only=False):
    """BTKD halfway through training, row by row: its value, and the share of right rows."""
    easy, hard = [], []
    for said, asked, label in zip(student, teacher, labels.tolist(), strict=True):
        target = [*asked.tolist(), -asked.max().item()]
        choice = target.index(max(target))
        right = choice == label or (foreground_only and label == NUM_CLASSES)
        if not right:
            target[choice], target[label] = target[label], target[choice]
        cost = binary_costs(said[None], torch.tensor([target[:NUM_CLASSES]]))
        (easy if right else hard).append(cost.item())
    assert min(len(easy), len(hard)) > 1
    parts = [sum(part) / len(part) for part in (easy, hard)]
    gamma = 1 - math.cos(math.pi / 4) ** 2
    return (1 - gamma) * parts[0] + gamma * parts[1], len(easy) / len(labels)


@pytest.mark.parametrize('name', list(CONFIGS))
def test_the_logits_are_those_of_the_anchor_and_its_label(name, tmp_path):
    losses = [BINARY, BTKD, dict(BTKD, foreground_only=True)]
    scene = Scene(name, dict(dense_logits=losses), tmp_path)
    student, teacher, labels, weights = scene.rows(0, NUM_CLASSES)
    assert (labels < NUM_CLASSES).sum() > 1
    counted = weights > 0
    student, teacher, labels = student[counted], teacher[counted], labels[counted]
    found = {key.removeprefix('distill.dense_logits.'): scene.log[key].item() for key in scene.log}
    wanted = dict(loss_binary_kd=binary_costs(student, teacher).mean().item())
    wanted['loss_btkd'], wanted['right'] = btkd(student, teacher, labels)
    wanted['loss_btkd2'], wanted['right2'] = btkd(student, teacher, labels, foreground_only=True)
    assert {key: found[key] for key in wanted} == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize('name', ['RetinaNet', 'FCOS'])
def test_a_sum_over_the_anchors_divided_by_the_number_of_foreground_ones(name, tmp_path):
    robust = dict(BTKD, schedule='none', rectify='none')
    sites = dict(losses=[BINARY, dict(BINARY, focus=1.5), robust], average='foreground')
    scene = Scene(name, dict(dense_logits=sites), tmp_path)
    student, teacher, labels, weights = scene.rows(0, NUM_CLASSES)
    shown = ((labels < NUM_CLASSES) & (weights > 0)).sum().item()
    assert shown > 1
    counted = weights > 0
    student, teacher = student[counted], teacher[counted]
    gap = ((student / 2).sigmoid() - (teacher / 2).sigmoid()).abs()
    parts = kl_divergence(Bernoulli(logits=teacher / 2), Bernoulli(logits=student / 2))
    wanted = dict(
        loss_binary_kd=binary_costs(student, teacher).sum().item() / shown,
        loss_binary_kd2=4 * (gap**1.5 * parts).sum().item() / shown,
        loss_btkd=binary_costs(student, teacher).sum().item() / shown,
    )
    found = {key.removeprefix('distill.dense_logits.'): scene.log[key].item() for key in scene.log}
    assert {key: found[key] for key in wanted} == pytest.approx(wanted, rel=1e-4)


def test_means_of_parts_are_not_divided_by_the_foreground(tmp_path):
    with pytest.raises(ConfigError, match=r"average: 'foreground' with .*normalize='all'"):
        Scene('FCOS', dict(dense_logits=dict(losses=BTKD, average='foreground')), tmp_path)
    with pytest.raises(ConfigError, match="average: 'rows'; valid: anchors, foreground"):
        Scene('FCOS', dict(dense_logits=dict(losses=BTKD, average='rows')), tmp_path)


def test_the_teachers_classes_in_the_students_order(tmp_path):
    order = [2, 0, 1]
    scene = Scene('FCOS', dict(dense_logits=BTKD), tmp_path, class_map=order)
    student, teacher, labels, _ = scene.rows(0, NUM_CLASSES)
    found = [scene.log[f'distill.dense_logits.{key}'].item() for key in ('loss_btkd', 'right')]
    assert found == pytest.approx(btkd(student, teacher[:, order], labels), rel=1e-4)


def test_the_box_sides_are_those_of_the_foreground(tmp_path):
    scene = Scene('GFL', dict(dense_boxes=SIDES), tmp_path)
    student, teacher, labels, _ = scene.rows(1, 4 * 17)
    shown = (labels >= 0) & (labels < NUM_CLASSES)
    assert 1 < shown.sum() < len(labels)
    student, teacher = (
        Categorical(logits=sides[shown].reshape(-1, 4, 17) / 10) for sides in (student, teacher)
    )
    wanted = 0.25 * 100 * kl_divergence(teacher, student).mean()
    found = scene.log['distill.dense_boxes.loss_distribution']
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=0)


def test_anchors_that_the_host_ignores_are_neither_right_nor_wrong(tmp_path):
    scene = Scene('RetinaNet', dict(dense_logits=[BINARY, BTKD]), tmp_path)
    student, teacher, labels, weights = scene.rows(0, NUM_CLASSES)
    ignored = weights == 0
    assert ignored.sum() > 10
    # To the host's label alone they would all be background.
    assert (labels[ignored] == NUM_CLASSES).all()
    with_them = btkd(student, teacher, labels)
    found = [scene.log[f'distill.dense_logits.{key}'].item() for key in ('loss_btkd', 'right')]
    assert found == pytest.approx(
        btkd(*(x[~ignored] for x in (student, teacher, labels))), rel=1e-4
    )
    assert found != pytest.approx(with_them, rel=1e-3)
    everything = binary_costs(student, teacher).mean().item()
    assert scene.log['distill.dense_logits.loss_binary_kd'].item() != pytest.approx(
        everything, 1e-3
    )


def test_told_that_it_is_background_only_the_largest_class_changes():
    logits = with_background(torch.tensor([[3.0, 2.0], [3.0, -2.0]]))
    assert torch.equal(logits, torch.tensor([[3.0, 2.0, -3.0], [3.0, -2.0, -3.0]]))
    background = torch.tensor([2, 2])
    put_right = rectify(logits, background, 'swap')
    assert torch.equal(put_right, torch.tensor([[-3.0, 2.0, 3.0], [-3.0, -2.0, 3.0]]))
    assert put_right[0, 1].sigmoid().item() == pytest.approx(0.88, abs=0.01)
