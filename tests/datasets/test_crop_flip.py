import numpy as np
import pytest
import torch
from mmpretrain.datasets.transforms import RandomCrop
from mmpretrain.registry import TRANSFORMS

from btkd_det.datasets.crop_flip import crop_and_flip, draw, draw_of_view

SIZE, PADDING = 8, 4
PLACES = 2 * PADDING + 1


def variants(image):
    """Every crop of one image (3, H, W), and its mirror, by its bytes."""
    padded = np.pad(image, ((0, 0), (PADDING,) * 2, (PADDING,) * 2))
    found = {}
    for top in range(PLACES):
        for left in range(PLACES):
            crop = padded[:, top : top + SIZE, left : left + SIZE]
            found[crop.tobytes()] = (top, left, False)
            found[crop[..., ::-1].tobytes()] = (top, left, True)
    return found


def counts(images, image):
    """How often each variant of ``image`` occurs: (top, left, flipped)."""
    found = variants(image)
    table = np.zeros((PLACES, PLACES, 2), dtype=int)
    for sample in images:
        top, left, flipped = found[np.ascontiguousarray(sample).tobytes()]
        table[top, left, int(flipped)] += 1
    return table


def chi_square(table):
    """Of counts against equal probabilities, in standard deviations above its mean."""
    expected = table.sum() / table.size
    freedom = table.size - 1
    return (((table - expected) ** 2 / expected).sum() - freedom) / (2 * freedom) ** 0.5


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE), dtype=np.uint8)


def per_image_pipeline(image, count):
    np.random.seed(0)
    steps = [
        RandomCrop(crop_size=SIZE, padding=PADDING),
        TRANSFORMS.build(dict(type='RandomFlip', prob=0.5, direction='horizontal')),
    ]
    samples = []
    for _ in range(count):
        results = dict(img=image.transpose(1, 2, 0))
        for step in steps:
            results = step(results)
        samples.append(results['img'].transpose(2, 0, 1))
    return samples


def one_batch(image, count):
    torch.manual_seed(0)
    images = torch.from_numpy(image).expand(count, -1, -1, -1)
    return crop_and_flip(images, *draw(count, PADDING, 0.5), PADDING).numpy()


@pytest.mark.parametrize('source', [per_image_pipeline, one_batch])
def test_all_crops_and_flips_occur_equally_often(source, image):
    """Batched and per image: the same 81 x 2 images, no others, uniform over them."""
    count = 60 * 162
    table = counts(source(image, count), image)
    assert table.sum() == count
    assert table.min() > 0
    assert abs(chi_square(table)) < 3


@pytest.mark.parametrize('flip', [0.0, 0.25, 1.0])
def test_the_share_of_flips_is_the_probability(flip):
    torch.manual_seed(1)
    _, flipped = draw(10000, PADDING, flip)
    assert flipped.float().mean().item() == pytest.approx(flip, abs=0.015 * (0 < flip < 1))


def test_the_images_of_a_batch_are_drawn_independently():
    torch.manual_seed(2)
    (top, left), flipped = draw(20000, PADDING, 0.5)
    numbers = torch.stack([top[:-1], top[1:], left[:-1], left[1:], flipped[:-1]]).double()
    correlation = torch.corrcoef(numbers) - torch.eye(5)
    assert correlation.abs().max() < 0.03


def test_offsets_are_top_and_left_and_the_flip_comes_after_the_crop():
    image = torch.zeros(1, 1, 3, 4, dtype=torch.uint8)
    image[0, 0, 0, 1] = 9
    moved = crop_and_flip(image, torch.tensor([[0], [2]]), torch.tensor([False]), 1)
    assert moved[0, 0].tolist() == [[0, 0, 0, 0], [9, 0, 0, 0], [0, 0, 0, 0]]
    mirrored = crop_and_flip(image, torch.tensor([[0], [2]]), torch.tensor([True]), 1)
    assert mirrored[0, 0].tolist() == [[0, 0, 0, 0], [0, 0, 0, 9], [0, 0, 0, 0]]


def test_views_are_a_fixed_function_of_seed_image_and_view():
    """These numbers may never change: caches of teacher logits on disk rest on them."""
    rows, view = torch.tensor([0, 1, 49999]), torch.tensor([0, 3, 7])
    offsets, flipped = draw_of_view(5, rows, view, PADDING, 0.5)
    assert offsets.tolist() == [[5, 7, 6], [7, 3, 2]]
    assert flipped.tolist() == [True, False, True]


def test_a_view_does_not_depend_on_the_rest_of_its_batch():
    rows, view = torch.arange(50), torch.arange(50) % 4
    offsets, flipped = draw_of_view(0, rows, view, PADDING, 0.5)
    for i in (0, 17, 49):
        alone = draw_of_view(0, rows[i : i + 1], view[i : i + 1], PADDING, 0.5)
        assert torch.equal(alone[0], offsets[:, i : i + 1])
        assert torch.equal(alone[1], flipped[i : i + 1])


@pytest.mark.parametrize('along', ['sample_idx', 'view', 'seed'])
def test_views_are_uniform_along_each_of_the_three_numbers(along):
    many, zero = torch.arange(60 * 162), torch.zeros(60 * 162, dtype=torch.long)
    if along == 'seed':
        drawn = [draw_of_view(seed, zero[:1], zero[:1], PADDING, 0.5) for seed in range(60 * 162)]
        offsets, flipped = (torch.cat(parts, dim=-1) for parts in zip(*drawn, strict=True))
    else:
        numbers = (many, zero) if along == 'sample_idx' else (zero, many)
        offsets, flipped = draw_of_view(0, *numbers, PADDING, 0.5)
    table = np.zeros((PLACES, PLACES, 2), dtype=int)
    np.add.at(table, (*offsets.numpy(), flipped.numpy().astype(int)), 1)
    assert abs(chi_square(table)) < 3


def test_views_of_one_image_differ():
    """Sample 1 in view 0 is not sample 0 in view 1, as it would be if the numbers were added."""
    rows, view = torch.arange(64).repeat_interleave(64), torch.arange(64).repeat(64)
    offsets, flipped = draw_of_view(0, rows, view, 2**20, 0.5)
    assert len({*zip(*offsets.tolist(), strict=True)}) == 64 * 64
