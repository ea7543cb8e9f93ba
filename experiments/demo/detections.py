"""A detector's boxes on a few images, and which of them are right."""

import numpy as np
from mmdet.apis import inference_detector
from mmengine.registry import MODELS, init_default_scope

from btkd_det.checkpoint import load_weights, weights_only
from btkd_det.config import without_distillation
from btkd_det.config.reading import read_config

RIGHT, WRONG, IGNORED = 'right', 'wrong', 'ignored'


def load_detector(config, checkpoint):
    """Build a detector for prediction: without its teacher, in eval mode, on the CPU.

    Args:
        config (str): A config, plain or distilled.
        checkpoint (str | Path): Its weights.

    Returns:
        nn.Module: The model, with its config at ``model.cfg``.

    Raises:
        ConfigError: One of the two cannot be read or they do not belong together.
    """
    cfg = without_distillation(read_config(config, 'config'))
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    # The checkpoint gives all weights: none is drawn or downloaded.
    with weights_only():
        model = MODELS.build(cfg.model)
    load_weights(model, checkpoint, 'checkpoint')
    model.cfg = cfg
    return model.eval()


def detect(model, images, score=0.3):
    """Detections to look at: of at least a score, and one for each place.

    Args:
        model (nn.Module): From :func:`load_detector`.
        images (Sequence[str | Path]): Image files.
        score (float): Least score. Defaults to 0.3.

    Returns:
        list[list[tuple]]: For each image ``(box, label, score)``, best first; the box as
        x1, y1, x2, y2 in the file's pixels.
    """
    found = []
    for sample in inference_detector(model, [str(image) for image in images]):
        instances = sample.pred_instances.cpu().numpy()
        rows = zip(
            instances.bboxes.tolist(),
            instances.labels.tolist(),
            instances.scores.tolist(),
            strict=True,
        )
        found.append(one_for_each_place([row for row in rows if row[2] >= score]))
    return found


def one_for_each_place(found, overlap=0.6):
    """The best of the detections that lie on one another, whatever their classes.

    A detector suppresses overlapping boxes within a class; one object that it takes for two
    classes keeps a box of each, which AP counts but nobody can read in a picture.

    Args:
        found (list[tuple]): ``(box, label, score)``.
        overlap (float): IoU above which the lower score goes. Defaults to 0.6.

    Returns:
        list[tuple]: Those that stay, best first.
    """
    kept = []
    for row in sorted(found, key=lambda row: -row[2]):
        if all(iou(row[0], other[0]) <= overlap for other in kept):
            kept.append(row)
    return kept


def verdicts(found, truth, threshold=0.5):
    """Which detections are right, by COCO's rule at one threshold.

    Args:
        found (list[tuple]): ``(box, label, score)``, best first, as :func:`detect` gives it.
        truth (list[tuple]): ``(box, label, crowd)``.
        threshold (float): Least IoU. Defaults to 0.5.

    Returns:
        list[str]: ``'right'``: the first on an object of its class. ``'ignored'``: in a crowd of
        its class. ``'wrong'``: any other.
    """
    free = {i for i, (_, _, crowd) in enumerate(truth) if not crowd}
    results = []
    for box, label, _ in found:
        own = [i for i in free if truth[i][1] == label]
        best = max(own, key=lambda i: iou(box, truth[i][0]), default=None)
        if best is not None and iou(box, truth[best][0]) >= threshold:
            free.remove(best)
            results.append(RIGHT)
        elif any(
            crowd and its == label and iou(box, region, crowd=True) >= threshold
            for region, its, crowd in truth
        ):
            results.append(IGNORED)
        else:
            results.append(WRONG)
    return results


def iou(box, other, crowd=False):
    """Intersection over union of two boxes; over the area of ``box`` where ``other`` is a crowd.

    Args:
        box (Sequence[float]): x1, y1, x2, y2.
        other (Sequence[float]): x1, y1, x2, y2.
        crowd (bool): Whether ``other`` is a crowd region.

    Returns:
        float: From 0 to 1.
    """
    a, b = np.asarray(box, float), np.asarray(other, float)
    extent = (np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0)
    common, size, its = extent.prod(), (a[2:] - a[:2]).prod(), (b[2:] - b[:2]).prod()
    union = size if crowd else size + its - common
    return float(common / union) if union > 0 else 0.0
