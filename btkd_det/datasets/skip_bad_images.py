"""Training goes on where an image cannot be read."""

from typing import Any

import cv2
from mmcv.transforms import BaseTransform, Compose
from mmengine.logging import print_log

from ..registry import TRANSFORMS


def is_bad_image(error: Exception) -> bool:
    """Whether a transform failed at an image's file or size, and not at its own code."""
    # A data loader's worker puts its traceback before the message.
    read = isinstance(error, AssertionError) and 'failed to load image' in str(error)
    return read or isinstance(error, (OSError, cv2.error))


@TRANSFORMS.register_module()
class SkipBadImages(BaseTransform):
    """A pipeline that gives nothing for an image that cannot be read.

    MMEngine's data sets then take another image at random. Each image is warned of once in each
    worker.

    Args:
        transforms (list[dict]): The pipeline.
    """

    def __init__(self, transforms: list[dict[str, Any]]) -> None:
        self.transforms = Compose(transforms)
        self.seen = set()

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Run the pipeline.

        Args:
            results (dict): With ``img_path``.

        Returns:
            dict | None: What the pipeline gives; None for an image that cannot be read.
        """
        path = results.get('img_path')
        try:
            return self.transforms(results)
        except Exception as error:
            if not is_bad_image(error):
                raise
            if path not in self.seen:
                self.seen.add(path)
                text = ' '.join(str(error).split())
                print_log(f'{path}: left out, {text}', 'current', level=30)
            return None
