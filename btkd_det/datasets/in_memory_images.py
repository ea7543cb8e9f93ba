"""A whole set of decoded images in memory, served and augmented batch by batch."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from ..checks import check_choice, check_number, check_whole, refuse
from ..errors import ConfigError
from ..provenance import sample_digest
from ..registry import DATASETS
from ..teacher.cache.data import describe_images
from .crop_flip import crop_and_flip, draw, draw_of_view
from .decoding import build_classification_set, check_pipeline, chosen_classes, decode

DEVICES = ('cpu', 'cuda', 'auto')


@DATASETS.register_module()
class InMemoryImages(Dataset):
    """Keeps a classification set as one uint8 tensor and gives out whole batches.

    Small images leave a model waiting where a pipeline works on them one by one. Here every image
    is decoded once, by the wrapped set's own pipeline, and random crops and flips are done on a
    batch at once, distributed as by mmpretrain's ``RandomCrop(crop_size=size, padding=...)`` and
    ``RandomFlip(prob=...)``. The channels keep the wrapped set's order, so ``to_rgb`` of the data
    preprocessor stays what it is for that set: False for CIFAR, True for files read by
    ``LoadImageFromFile``.

    A data loader needs no ``collate_fn`` and no workers::

        train_dataloader = dict(
            batch_size=64,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=True),
            dataset=dict(
                type='btkd_det.InMemoryImages',
                dataset=dict(type='CIFAR100', data_root='data/cifar100', split='train'),
                crop_padding=4,
                flip=0.5))

    Random numbers come from PyTorch's global CPU generator in the main process: the runner's seed
    determines them, and ``btkd_det.ExactResumeHook`` resumes them.

    Args:
        dataset (dict | Dataset): A data set of mmpretrain with images of one size and one label
            for each. A pipeline is not needed; if there is one, it ends in ``PackInputs`` and
            draws nothing at random, as it runs once for each image.
        crop_padding (int): Black pixels added at each border before an image is cropped to its
            own size at random. Defaults to 0, no crop.
        flip (float): Probability of a horizontal flip. Defaults to 0.
        views (int, optional): K. Only K crops and flips of each image occur, each of them a fixed
            function of ``view_seed``, the image's index and the view's number; every access
            draws one of them at random. For teacher logits that are known beforehand. Defaults to
            None: a new crop and flip each time.
        view_seed (int): Of the views. Defaults to 0.
        device (str): Where the images are: ``'cpu'``, ``'cuda'``, or ``'auto'``, the GPU if the
            set takes no more than half of its free memory. Defaults to ``'cpu'``.
        classes (int | Sequence[str], optional): Keep the images of the first classes or of those
            named only, with labels from 0 in this order. Defaults to None: all.

    Attributes:
        images (Tensor): (N, C, H, W) uint8.
        labels (Tensor): (N,).
        description (ImageSet | None): What the samples say of the set that they are of, so that
            a :class:`~btkd_det.models.CachedTeacher` sees whether its cache is of it; None
            where the wrapped set has no class names.

    Raises:
        ConfigError: A value is invalid, the wrapped set's files are missing, its pipeline is
            random, or its images differ in size.
    """

    def __init__(
        self,
        dataset: dict[str, Any] | Dataset,
        crop_padding: int = 0,
        flip: float = 0.0,
        views: int | None = None,
        view_seed: int = 0,
        device: str = 'cpu',
        classes: int | Sequence[str] | None = None,
    ) -> None:
        _check_augmentation(crop_padding, flip, views, view_seed)
        check_choice('device', device, DEVICES)
        if device == 'cuda' and not torch.cuda.is_available():
            refuse('device', device, 'cpu, auto', ', but PyTorch finds no GPU')
        self.crop_padding = crop_padding
        self.flip = flip
        self.views = views
        self.view_seed = view_seed
        self.dataset = build_classification_set(dataset)
        check_pipeline(self.dataset)
        self._metainfo = dict(self.dataset.metainfo)
        self._kept = range(len(self.dataset))
        images, labels = self._select_and_decode(classes)
        self.labels = labels
        self.images = images.to(_place(images, device))
        self.description = self._describe()
        print_log(
            f'{len(self)} images of {tuple(images.shape[1:])} in memory, '
            f'{images.nbytes / 2**20:.0f} MiB on {self.images.device}',
            'current',
        )

    @property
    def metainfo(self) -> dict[str, Any]:
        """dict: Of the wrapped set; with ``classes``, those that were kept."""
        return dict(self._metainfo)

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, idx: int) -> dict[str, Any]:
        """One image as mmpretrain's pipelines give it, augmented.

        Args:
            idx (int): Index into this set.

        Returns:
            dict: ``inputs`` (C, H, W) uint8 and ``data_samples``, one sample.
        """
        batch = self.__getitems__([range(len(self))[idx]])
        return dict(inputs=batch['inputs'][0], data_samples=batch['data_samples'][0])

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        """One batch, augmented. PyTorch's data loader calls this where a data set has it.

        Args:
            indices (Sequence[int]): N indices into this set.

        Returns:
            dict: ``inputs`` (N, C, H, W) uint8 and ``data_samples``, a list of N samples with
            ``gt_label`` and the metainfo ``sample_idx``, ``image_set``, which is
            ``self.description`` itself, and with ``views`` also ``view``.

        Raises:
            ConfigError: It is called in a worker of a data loader.
        """
        if get_worker_info() is not None:
            raise ConfigError(
                f'num_workers: {get_worker_info().num_workers}; valid is num_workers=0 with '
                'btkd_det.InMemoryImages: its images are in the memory of the main process, whose '
                'random numbers a resumed run restores'
            )
        rows = torch.as_tensor(indices)
        if self.views is None:
            return self._batch(rows, *draw(len(rows), self.crop_padding, self.flip))
        return self._view_batch(rows, torch.randint(self.views, (len(rows),)))

    def get_view(self, indices: Sequence[int], view: int) -> dict[str, Any]:
        """The batch of a given view; nothing is drawn.

        Args:
            indices (Sequence[int]): N indices into this set.
            view (int): Number of the view, 0 to ``views - 1``.

        Returns:
            dict: As :meth:`__getitems__`.

        Raises:
            ConfigError: There is no such view.
        """
        if view not in range(self.views or 0):
            raise ConfigError(f'view: {view!r}; valid: an integer from 0 below views={self.views}')
        rows = torch.as_tensor(indices)
        return self._view_batch(rows, torch.full_like(rows, view))

    def full_init(self) -> None:
        """Nothing is left to do; MMEngine's wrappers of data sets ask for it."""

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """What the wrapped set knows of an image, index and label being those of this set.

        Args:
            idx (int): Index into this set.

        Returns:
            dict: Its annotation.
        """
        info = self.dataset.get_data_info(int(self._kept[idx]))
        return {**info, 'sample_idx': idx % len(self), 'gt_label': int(self.labels[idx])}

    def get_cat_ids(self, idx: Any) -> list[Any]:
        """The class of an image, as a list of one label."""
        return [int(self.labels[idx])]

    def get_gt_labels(self) -> Any:
        """The labels of all images: int64 array (N,)."""
        return self.labels.numpy().copy()

    def _select_and_decode(self, classes: Any) -> Any:
        """Images (N, C, H, W) and labels (N,) of the classes that are kept."""
        if classes is None:
            return decode(self.dataset, self._kept)
        chosen = chosen_classes(classes, self._metainfo.get('classes') or ())
        self._kept = [i for i in self._kept if self.dataset.get_cat_ids(i)[0] in chosen]
        self._metainfo['classes'] = tuple(chosen.values())
        images, labels = decode(self.dataset, self._kept)
        return images, torch.tensor([list(chosen).index(label) for label in labels.tolist()])

    def _describe(self) -> Any:
        names = self._metainfo.get('classes')
        if not names:
            return None
        settings = ('views', 'view_seed', 'crop_padding', 'flip')
        return describe_images(
            names,
            self.labels.tolist(),
            sample_digest(self.dataset, self._kept),
            {name: getattr(self, name) for name in settings},
        )

    def _view_batch(self, rows: Tensor, view: Any) -> Any:
        drawn = draw_of_view(self.view_seed, rows, view, self.crop_padding, self.flip)
        return self._batch(rows, *drawn, view=view.tolist())

    def _batch(self, rows: Tensor, offsets: Any, flipped: Any, view: Any = None) -> '_Batch':
        # One copy to the device for the four numbers of each row.
        numbers = torch.cat([rows[None], offsets, flipped[None].long()]).to(self.images.device)
        images = self.images[numbers[0]]
        if self.crop_padding or self.flip:
            images = crop_and_flip(images, numbers[1:3], numbers[3].bool(), self.crop_padding)
        samples = data_samples(rows.tolist(), self.labels[rows], view, self.description)
        return _Batch(inputs=images, data_samples=samples)


class _Batch(dict):
    """A batch that is complete: collate functions leave it as it is.

    MMEngine's two collate functions and PyTorch's own look at the first row to see what they
    have to merge, and return a batch of strings unchanged.
    """

    def __missing__(self, key: str) -> str:
        if key == 0:
            return ''
        raise KeyError(key)

    def pin_memory(self) -> '_Batch':
        """Pin the images, unless they are on the GPU already."""
        if self['inputs'].device.type == 'cpu':
            self['inputs'] = self['inputs'].pin_memory()
        return self


def data_samples(
    rows: Sequence[int], labels: Tensor, view: Sequence[int] | None = None, image_set: Any = None
) -> list[Any]:
    """Samples of mmpretrain's, one for each image.

    Args:
        rows (Sequence[int]): N indices into the set.
        labels (Tensor): (N,).
        view (Sequence[int], optional): Numbers of the views.
        image_set (ImageSet, optional): What all of them say of the set.

    Returns:
        list[DataSample]: With ``gt_label`` (1,) and the metainfo ``sample_idx``, ``view`` and
        ``image_set``, those that are given.
    """
    from mmpretrain.structures import DataSample

    samples = []
    for i, (row, label) in enumerate(zip(rows, labels.split(1), strict=True)):
        # Field by field: DataSample(metainfo=...) copies deeply, at twice the time of a batch.
        sample = DataSample()
        sample.set_field(row, 'sample_idx', field_type='metainfo')
        if image_set is not None:
            sample.set_field(image_set, 'image_set', field_type='metainfo')
        if view is not None:
            sample.set_field(view[i], 'view', field_type='metainfo')
        sample.set_field(label, 'gt_label')
        samples.append(sample)
    return samples


def _check_augmentation(crop_padding: Any, flip: Any, views: Any, view_seed: Any) -> None:
    check_whole('crop_padding', crop_padding, least=0)
    check_number('flip', flip, least=0, most=1)
    check_whole('views', views, least=1, optional=True)
    if views is not None and not crop_padding and not flip:
        raise ConfigError(
            f'views: {views}, but without crop_padding and flip all views are the image itself; '
            'valid: None, or set crop_padding or flip'
        )
    check_whole('view_seed', view_seed, least=0, below=2**63)


def _place(images: Any, device: Any) -> Any:
    if device != 'auto':
        return device
    if not torch.cuda.is_available():
        return 'cpu'
    free, _ = torch.cuda.mem_get_info()
    return 'cuda' if images.nbytes <= free // 2 else 'cpu'
