import pytest
import torch
from mmengine.logging import MMLogger

from btkd_det.errors import ConfigError
from btkd_det.losses import IKDLoss, KDLoss, LogitLoss
from btkd_det.registry import build

from .every import batch

CLASSES = 5


def means(teacher, labels):
    """Means per class, row by row; zeros for a class without rows."""
    table = torch.zeros(CLASSES, CLASSES, dtype=torch.float64)
    for y in range(CLASSES):
        if (labels == y).any():
            table[y] = teacher[labels == y].double().mean(dim=0)
    return table


def joined(seeds, rows=6):
    batches = [batch(rows, CLASSES, seed) for seed in seeds]
    return torch.cat([b[1] for b in batches]), torch.cat([b[2] for b in batches])


def test_the_means_of_several_batches_are_those_of_all_rows():
    loss = IKDLoss(CLASSES)
    for seed in range(4):
        _, teacher, labels = batch(6, CLASSES, seed)
        loss.update(teacher.float(), labels)
    teacher, labels = joined(range(4))
    torch.testing.assert_close(loss.class_means, means(teacher.float(), labels))
    assert torch.equal(loss.class_counts, labels.bincount(minlength=CLASSES).double())


def test_the_term_compares_with_the_mean_of_the_row_s_class():
    student, teacher, labels = batch(20, CLASSES)
    loss = IKDLoss(CLASSES, temperature=2.0, loss_weight=3.0)
    loss.update(teacher, labels)
    expected = 3 * KDLoss(2.0)(student, means(teacher, labels)[labels], labels)
    torch.testing.assert_close(loss(student, teacher, labels), expected)


def test_a_class_never_seen_costs_nothing():
    student, teacher, _ = batch(4, CLASSES)
    loss = IKDLoss(CLASSES)
    loss.update(teacher, torch.tensor([0, 0, 1, 1]))
    rows = loss.per_row(student, teacher, torch.tensor([0, 1, 2, 3]))
    assert (rows > 0).tolist() == [True, True, False, False]
    rows[2:].sum().backward()
    assert not student.grad.any()
    assert loss.log_vars['seen'] == 0.5


def test_only_right_leaves_the_teacher_s_mistakes_out():
    _, teacher, labels = batch(30, CLASSES)
    right = teacher.argmax(dim=1) == labels
    loss = IKDLoss(CLASSES, only_right=True)
    loss.update(teacher, labels)
    torch.testing.assert_close(loss.class_means, means(teacher[right], labels[right]))


def run(loss, hub, iterations):
    """Call the loss in these iterations of a training; the values it gave."""
    values = []
    for i in iterations:
        hub.update_info('iter', i)
        student, teacher, labels = batch(6, CLASSES, seed=i)
        value = loss(student, teacher, labels)
        value.backward()
        assert student.grad.isfinite().all()
        values.append(value.item())
    return values


def test_it_collects_for_an_epoch_and_then_gives_the_term(hub):
    loss = IKDLoss(CLASSES)
    values = run(loss, hub, range(12))
    assert values[:8] == [0.0] * 8
    assert all(value > 0 for value in values[8:])
    teacher, labels = joined(range(8))
    torch.testing.assert_close(loss.class_means, means(teacher, labels))


def test_iterations_instead_of_epochs(hub):
    loss = IKDLoss(CLASSES, collect_iters=3)
    values = run(loss, hub, range(5))
    assert [value > 0 for value in values] == [False] * 3 + [True] * 2


def test_several_calls_in_an_iteration_count_once(hub):
    loss = IKDLoss(CLASSES, collect_iters=2)
    assert run(loss, hub, [0, 0, 1, 1]) == [0.0] * 4
    assert run(loss, hub, [2]) > [0.0]


def test_evaluation_does_not_collect(hub):
    loss = IKDLoss(CLASSES).eval()
    run(loss, hub, range(3))
    assert not loss.class_counts.any()


def test_resumed_in_the_middle_of_collecting_it_goes_on_exactly(hub):
    whole = IKDLoss(CLASSES)
    expected = run(whole, hub, range(12))
    for stop in (3, 8, 10):
        first = IKDLoss(CLASSES)
        run(first, hub, range(stop))
        second = IKDLoss(CLASSES)
        second.load_state_dict(first.state_dict())
        assert run(second, hub, range(stop, 12)) == expected[stop:]
        assert torch.equal(second.class_means, whole.class_means)


def test_the_means_of_an_earlier_training_are_not_collected_again(hub):
    first = IKDLoss(CLASSES)
    run(first, hub, range(9))
    second = IKDLoss(CLASSES)
    second.load_state_dict(first.state_dict())
    assert run(second, hub, [0])[0] > 0
    assert torch.equal(second.class_means, first.class_means)


def test_collecting_that_would_never_end_is_an_error(hub):
    for loss in (IKDLoss(CLASSES, collect_epochs=5), IKDLoss(CLASSES, collect_iters=40)):
        with pytest.raises(RuntimeError, match='over 40 iterations of a training that has 40'):
            run(loss, hub, [0])


def test_without_a_runner_it_collects_until_told():
    student, teacher, labels = batch(20, CLASSES)
    loss = IKDLoss(CLASSES)
    value = loss(student, teacher, labels)
    value.backward()
    assert value == 0
    assert not student.grad.any()
    loss.finish()
    assert loss(student, teacher, labels) > 0
    torch.testing.assert_close(loss.class_means, means(teacher, labels))


def test_without_a_runner_iterations_are_calls():
    arguments = batch(20, CLASSES)
    loss = IKDLoss(CLASSES, collect_iters=2)
    assert [(loss(*arguments) > 0).item() for _ in range(4)] == [False, False, True, True]


def test_an_update_by_hand_ends_collecting(hub):
    _, teacher, labels = batch(20, CLASSES)
    loss = IKDLoss(CLASSES)
    loss.update(teacher, labels)
    assert run(loss, hub, [0])[0] > 0
    torch.testing.assert_close(loss.class_means, means(teacher, labels))


def test_no_reduction_while_collecting():
    student, teacher, labels = batch(4, CLASSES)
    rows = IKDLoss(CLASSES)(student, teacher, labels, reduction_override='none')
    assert rows.tolist() == [0.0] * 4


def test_means_from_a_file(tmp_path, hub):
    _, teacher, labels = batch(20, CLASSES)
    source = IKDLoss(CLASSES)
    source.update(teacher, labels)
    stored = dict(class_means=source.class_means, class_counts=source.class_counts)
    torch.save(stored, tmp_path / 'means.pt')
    loss = IKDLoss(CLASSES, class_means=str(tmp_path / 'means.pt'))
    assert run(loss, hub, [0]) == run(source, hub, [0])
    torch.save(source.class_means, tmp_path / 'table.pt')
    loss = IKDLoss(CLASSES, class_means=tmp_path / 'table.pt')
    assert torch.equal(loss.class_means, source.class_means)
    assert loss.class_counts.all()


class Evil:
    def __reduce__(self):
        return print, ('run',)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (None, 'x.class_means: no file'),
        (torch.zeros(4, 4), r'shape \(4, 4\); valid: \(5, 5\), for num_classes=5'),
        (dict(class_means=torch.zeros(5, 5)), 'class_counts of shape None'),
        (dict(class_means=torch.zeros(5, 4), class_counts=torch.zeros(5)), r'valid: \(C, C\) and'),
        ([1, 2], 'class_means of shape None'),
        (torch.full((5, 5), torch.nan), 'is not finite'),
        (Evil(), 'is no file of tensors that can be read'),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, content, message, capsys):
    path = tmp_path / 'means.pt'
    if content is not None:
        torch.save(content, path)
    cfg = dict(type='IKDLoss', num_classes=5, class_means=str(path))
    with pytest.raises(ConfigError, match=message):
        build(cfg, 'x', LogitLoss)
    assert 'run' not in capsys.readouterr().out


def test_other_classes_than_it_was_built_for():
    student, teacher, labels = batch(4, CLASSES)
    with pytest.raises(ValueError, match='num_classes=3, but the logits have 5 classes'):
        IKDLoss(3)(student, teacher, labels)


def test_background_may_stay_out():
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(12, 4, generator=generator) for _ in range(2))
    labels = torch.arange(12) % 4
    loss = IKDLoss(num_classes=4, background=False, loss_weight=1.0)
    loss.update(teacher, labels)
    assert loss.class_counts.tolist() == [3, 3, 3, 0]
    assert torch.equal(loss.class_means[3], torch.zeros(4, dtype=torch.double))
    everything = IKDLoss(num_classes=4, loss_weight=1.0)
    everything.update(teacher, labels)
    rows, all_rows = (part.per_row(student, teacher, labels) for part in (loss, everything))
    assert (rows[labels == 3] == 0).all()
    torch.testing.assert_close(rows[labels < 3], all_rows[labels < 3])
    assert (all_rows[labels == 3] > 0).all()
    loss(student, teacher, labels)
    assert loss.log_vars['seen'].item() == 0.75


@pytest.mark.parametrize(
    ('options', 'field'),
    [
        (dict(collect_epochs=0), 'collect_epochs'),
        (dict(collect_iters=0), 'collect_iters'),
        (dict(collect_iters=0, collect_epochs=3), 'collect_iters'),
    ],
)
def test_a_term_that_could_never_start_is_refused(options, field):
    with pytest.raises(ConfigError, match=rf'x\.{field}: 0 collects nothing.*valid: 1 or more'):
        build(dict(type='IKDLoss', num_classes=CLASSES, **options), 'x', LogitLoss)


def test_what_is_not_read_may_be_anything(tmp_path):
    torch.save(torch.eye(CLASSES), tmp_path / 'means.pt')
    IKDLoss(CLASSES, collect_epochs=0, collect_iters=2)
    IKDLoss(CLASSES, collect_epochs=0, class_means=tmp_path / 'means.pt')


@pytest.mark.parametrize('background', [True, False])
def test_a_file_without_rows_is_refused(tmp_path, background):
    counts = torch.zeros(CLASSES)
    counts[-1] = 0 if background else 7
    path = tmp_path / 'means.pt'
    torch.save(dict(class_means=torch.zeros(CLASSES, CLASSES), class_counts=counts), path)
    with pytest.raises(ConfigError, match='class_means: .* has no rows of any class'):
        IKDLoss(CLASSES, class_means=path, background=background)


def test_collecting_no_row_is_said(progress, caplog):
    MMLogger.get_instance('no-row').addHandler(caplog.handler)
    student, teacher, labels = batch(6, CLASSES, wrong=True)
    loss = IKDLoss(CLASSES, collect_iters=1, only_right=True)
    for share in (0.0, 0.1):
        progress(share)
        assert loss(student, teacher, labels) == 0
    assert 'no row of any class was collected' in caplog.text


@pytest.mark.parametrize('value', [float('inf'), float('nan')])
def test_a_row_that_is_not_finite_is_in_no_mean(value):
    logits = torch.tensor([[1.0, 2.0, 3.0], [value, 0.0, 0.0], [3.0, 2.0, 1.0], [0.0, 1.0, value]])
    labels = torch.tensor([0, 0, 0, 2])
    for only_right in (False, True):
        loss = IKDLoss(3, only_right=only_right)
        loss.update(logits, labels)
        expected = [3.0, 2.0, 1.0] if only_right else [2.0, 2.0, 2.0]
        assert loss.class_means.tolist() == [expected, [0.0] * 3, [0.0] * 3]
        assert loss.class_counts.tolist() == [1 if only_right else 2, 0, 0]


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_it_collects_from_half_precision(dtype):
    student, teacher, labels = batch(20, CLASSES)
    teacher = teacher.to(dtype)
    expected, loss, updated = IKDLoss(CLASSES), IKDLoss(CLASSES), IKDLoss(CLASSES)
    expected.update(teacher.float(), labels)
    loss(student, teacher, labels)
    updated.update(teacher, labels)
    for found in (loss, updated):
        assert torch.equal(found.class_means, expected.class_means)
        assert torch.equal(found.class_counts, expected.class_counts)
