"""A file of class means is of one teacher and of classes with names, and is held against both."""

import pytest
import torch

from btkd_det.errors import ConfigError
from btkd_det.losses import IKDLoss
from btkd_det.losses.class_means import FORMAT, read_class_means, write_class_means

NAMES = ['cat', 'dog', 'hen', 'cow']
TEACHER = dict(
    checkpoint='t.pth', checkpoint_sha256='a', teacher_config='b', dtype=None, class_map=None
)


class Guest:
    """As much of a teacher as a loss looks at."""

    def __init__(self, classes=None, class_map=None, **changes):
        self.classes, self.class_map = classes, class_map
        self.known = {**TEACHER, **changes}

    def provenance(self):
        return self.known


def table(classes):
    return torch.arange(classes**2, dtype=torch.double).view(classes, classes), torch.arange(
        1, classes + 1
    ).double()


def write(path, classes=4, names=NAMES, **changes):
    means, counts = table(classes)
    write_class_means(path, means, counts, dict(TEACHER, classes=names, **changes))
    return str(path)


@pytest.mark.parametrize(
    ('guest', 'order'),
    [
        (Guest(), [0, 1, 2, 3]),
        (Guest(classes=('hen', 'cat', 'cow', 'dog')), [2, 0, 3, 1]),
        (Guest(class_map=[2, 0, 3, 1]), [2, 0, 3, 1]),
        (Guest(classes=('hen', 'cat'), class_map=[2, 0]), [2, 0]),
        (Guest(class_map=[3]), [3]),
    ],
    ids=['as it is', 'names', 'map', 'some by name', 'some by map'],
)
@pytest.mark.parametrize('background', [False, True])
def test_the_means_follow_the_students_classes(tmp_path, guest, order, background):
    classes = 4 + background
    path = write(tmp_path / 'm.pt', classes)
    rows = [*order, *([4] if background else [])]
    if len(rows) < 2:
        rows, guest = [3, 0], Guest(class_map=[3, 0])
        rows += [4] if background else []
    loss = IKDLoss(len(rows), class_means=path)
    loss.follow_teacher(guest)
    means, counts = table(classes)
    assert torch.equal(loss.class_means, means[rows][:, rows])
    assert torch.equal(loss.class_counts, counts[rows])
    assert loss.class_names == tuple(NAMES[index] for index in rows if index < 4)


@pytest.mark.parametrize(
    ('guest', 'words'),
    [
        (Guest(checkpoint_sha256='other'), "the checkpoint's SHA-256: 'a' there, 'other' here"),
        (Guest(teacher_config='other'), "the teacher's config"),
        (Guest(classes=('cat', 'fox', 'hen', 'cow')), 'has no means of fox'),
        (Guest(class_map=[0, 1, 2, 7]), 'has 4 classes, but teacher.class_map'),
    ],
)
def test_means_of_another_teacher_are_refused(tmp_path, guest, words):
    loss = IKDLoss(4, class_means=write(tmp_path / 'm.pt'))
    with pytest.raises(ConfigError, match='class_means: .*m.pt') as caught:
        loss.follow_teacher(guest)
    assert words in str(caught.value)


def test_means_that_do_not_name_their_classes_follow_no_map(tmp_path):
    loss = IKDLoss(4, class_means=write(tmp_path / 'm.pt', names=None))
    loss.follow_teacher(Guest())
    with pytest.raises(ConfigError, match='does not name its classes'):
        loss.follow_teacher(Guest(class_map=[1, 0, 2, 3]))


def test_means_of_more_classes_wait_for_a_map(tmp_path):
    loss = IKDLoss(2, class_means=write(tmp_path / 'm.pt'))
    rows = torch.randn(3, 2), torch.randn(3, 2), torch.tensor([0, 1, 1])
    with pytest.raises(RuntimeError, match='means of 4 classes, and no teacher with a class_map'):
        loss(*rows)
    with pytest.raises(ConfigError, match=r'shape \(4, 4\); valid: \(2, 2\)'):
        loss.follow_teacher(Guest())
    loss.follow_teacher(Guest(class_map=[3, 1]))
    assert loss(*rows) > 0


def test_a_changed_file_is_found(tmp_path):
    path = write(tmp_path / 'm.pt')
    stored = torch.load(path, weights_only=True)
    assert stored['format'] == FORMAT
    stored['class_means'][0, 0] += 1
    torch.save(stored, path)
    with pytest.raises(ConfigError, match='m.pt is damaged'):
        read_class_means(path)


def test_a_table_that_says_nothing_of_itself_is_taken_with_a_warning(tmp_path, caplog):
    torch.save(table(4)[0], tmp_path / 'table.pt')
    from mmengine.logging import MMLogger

    MMLogger.get_instance('class-means').addHandler(caplog.handler)
    loss = IKDLoss(4, class_means=tmp_path / 'table.pt')
    assert 'does not say which teacher and classes it is of' in caplog.text
    loss.follow_teacher(Guest(checkpoint_sha256='other'))
    assert torch.equal(loss.class_means, table(4)[0])
