"""Pixels of any number of channels and any depth, as pictures to look at."""

import io

import mmcv
import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

#: A transform of colors gives floats that lie somewhat above 255: these are cut off. Floats beyond
#: this number are of a deeper image.
MOST_OF_EIGHT_BITS = 1023.0


def rgb_image(pixels: np.ndarray, blue_first: bool = False) -> Image.Image:
    """Pixels as a picture.

    Of more than three channels the first three are drawn, of one or two the first one, in gray.
    Whole numbers above 255 (16 bits), and floats far above it, are scaled by the largest of them,
    floats up to 1 by 255.

    Args:
        pixels (np.ndarray): (H, W) or (H, W, C), of any type.
        blue_first (bool): Whether the first channel is blue. Defaults to False.

    Returns:
        Image.Image: In RGB.
    """
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    drawn = _eight_bits(pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1])
    if blue_first:
        drawn = drawn[..., ::-1]
    shape = (*drawn.shape[:2], 3)
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(drawn, shape)))


def image_of_input(pixels: Tensor, blue_first: bool = False) -> Image.Image:
    """An image of a batch, as a model is given it, as a picture.

    Args:
        pixels (Tensor): (C, H, W), see :func:`rgb_image`.
        blue_first (bool): Whether the first channel is blue. Defaults to False.

    Returns:
        Image.Image: In RGB.
    """
    values = pixels.detach().cpu()
    # NumPy has no bfloat16.
    values = values.float() if values.is_floating_point() else values
    return rgb_image(values.numpy().transpose(1, 2, 0), blue_first)


def decoded_image(content: bytes, flag: str = 'color', backend: str = 'cv2') -> Image.Image:
    """A file's picture, by the decoder of a data set: boxes are in the pixels that it gives.

    Args:
        content (bytes): Of the file.
        flag (str): ``color_type`` of MMCV's ``LoadImageFromFile``. Defaults to ``'color'``.
        backend (str): ``imdecode_backend`` of it. Defaults to ``'cv2'``.

    Returns:
        Image.Image: In RGB. What that decoder does not know is read by Pillow.

    Raises:
        OSError: Neither reads it.
    """
    try:
        pixels = mmcv.imfrombytes(content, flag=flag, backend=backend)
    except Exception:  # a decoder's own errors share no base
        pixels = None
    if pixels is not None:
        return rgb_image(pixels, blue_first=True)
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    # Pillow cuts what is deeper than 8 bits off at 255.
    deep = image.mode == 'F' or image.mode.startswith('I')
    return rgb_image(np.asarray(image)) if deep else image.convert('RGB')


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """Values from 0 to 255, uint8."""
    if values.dtype == np.uint8:
        return values
    whole = values.dtype.kind in 'iu'
    values = np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0)
    top = float(values.max(initial=0))
    if top > (255 if whole else MOST_OF_EIGHT_BITS):
        values = values * (255 / top)
    elif not whole and 0 < top <= 1:
        values = values * 255
    return values.clip(0, 255).astype(np.uint8)
