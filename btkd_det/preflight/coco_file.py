"""What was found in an annotation file in COCO's format."""

from dataclasses import dataclass, field

# Images longer than this times their width, or the reverse, are tried out.
THIN = 8


@dataclass
class CocoFile:
    """What the pass over a file found.

    Attributes:
        path (str): The file.
        images (dict): Image id to the image's entry, in the order of the file.
        boxes (dict): Image id to the number of boxes that a data set would use.
        touched (set): Ids of images with an annotation of one of the classes, used or not.
        mended (dict): Field to (count, id of the first), see :func:`mend`.
        ignored (dict): Why MMDetection leaves annotations out, to [count, id of the first].
        sample (dict): A file of the same format with the first image that has boxes, and the
            widest and the tallest of those that are thinner than 1 : 8.
    """

    path: str
    images: dict = field(default_factory=dict)
    boxes: dict = field(default_factory=dict)
    touched: set = field(default_factory=set)
    mended: dict = field(default_factory=dict)
    ignored: dict = field(default_factory=dict)
    sample: dict = field(default_factory=dict)

    def used_images(self, dataset: dict) -> list:
        """Ids of the images that a data set with this config's filters and indices keeps."""
        kept = list(self.images)
        chosen = dataset.get('filter_cfg')
        if chosen and not dataset.get('test_mode'):
            smallest = chosen.get('min_size', 0)
            if chosen.get('filter_empty_gt'):
                kept = [i for i in kept if i in self.touched]
            kept = [i for i in kept if min(size_of(self.images[i])) >= smallest]
        indices = dataset.get('indices')
        if isinstance(indices, int):
            return kept[:indices] if indices >= 0 else kept[indices:]
        return kept if indices is None else [kept[i] for i in indices]


def sample_of(content: dict, found: CocoFile) -> dict:
    """A small file of the same format, see :class:`CocoFile`."""
    shapes = {i: w / h for i, (w, h) in ((i, size_of(m)) for i, m in found.images.items()) if h > 0}
    ids = [next(iter(found.boxes or found.images))]
    if shapes:
        ids += [i for i in (max(shapes, key=shapes.get),) if shapes[i] > THIN]
        ids += [i for i in (min(shapes, key=shapes.get),) if shapes[i] < 1 / THIN]
    return dict(
        images=[found.images[i] for i in dict.fromkeys(ids)],
        annotations=[a for a in content['annotations'] if a.get('image_id') in ids],
        categories=content['categories'],
    )


def size_of(image: dict) -> tuple:
    """Width and height that an image's entry states."""
    return image['width'], image['height']
