import torch

from btkd_det.losses.class_split import against_rest, without
from btkd_det.losses.divergences import binary_kl


def test_a_class_left_out_is_as_if_it_were_not_there():
    logits = torch.tensor([[-9e3, -8e3, 1e4, -8e3 + 1]])
    rest = without(logits, torch.tensor([2]))
    share = rest.softmax(dim=1)[0]
    assert share[2] == 0
    torch.testing.assert_close(share[[0, 1, 3]], logits[0, [0, 1, 3]].softmax(dim=0))
    mask = torch.tensor([[False, False, True, False]])
    assert torch.equal(without(logits, mask), rest)


def test_nothing_left_is_a_uniform_rest_without_a_gradient():
    logits = torch.tensor([[1.0, 2.0]], requires_grad=True)
    rest = without(logits, torch.ones(1, 2, dtype=torch.bool)).log_softmax(dim=1)
    assert rest.exp().tolist() == [[0.5, 0.5]]
    rest.sum().backward()
    assert logits.grad.tolist() == [[0.0, 0.0]]


def test_one_class_against_the_rest():
    logits = torch.tensor([[1.0, -2.0, 0.5], [300.0, 0.0, 1.0]], dtype=torch.float64)
    classes = torch.tensor([1, 0])
    odds = against_rest(logits, without(logits, classes), classes)
    expected = logits.softmax(dim=1)[torch.arange(2), classes]
    torch.testing.assert_close(odds.sigmoid(), expected)
    assert odds[1].item() > 298


def test_the_divergence_of_two_races_of_two():
    student = torch.tensor([0.3, -1.0, 2e4], dtype=torch.float64)
    teacher = torch.tensor([-0.7, 2.0, -2e4], dtype=torch.float64)
    pairs = [torch.stack([logit, torch.zeros_like(logit)]) for logit in (student, teacher)]
    log_student, log_teacher = (pair.log_softmax(dim=0) for pair in pairs)
    expected = (log_teacher.exp() * (log_teacher - log_student)).sum(dim=0)
    torch.testing.assert_close(binary_kl(student, teacher), expected)
    assert expected[2] == 2e4


def test_a_divergence_weighed_by_how_far_the_two_are_apart():
    student = torch.tensor([0.3, -1.0, 2.0, -4.0], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([-0.7, 2.0, 2.0, -9.0], dtype=torch.float64)
    apart = student.detach().sigmoid() - teacher.sigmoid()

    weighed = binary_kl(student, teacher, focus=1.5)
    weighed.sum().backward()

    factor = apart.abs() ** 1.5
    torch.testing.assert_close(weighed, factor * binary_kl(student, teacher))
    # The factor is a number to the gradient.
    torch.testing.assert_close(student.grad, factor * apart)
    assert weighed[2] == student.grad[2] == 0
