"""Draw the demo's data: eight look-alike shapes, in COCO's format.

python tools/make_shapes.py --out data/shapes
"""

import argparse
import dataclasses
import sys
from pathlib import Path

from rich.progress import Progress

ROOT = Path(__file__).resolve().parents[1]
# The demo and the benchmarks are of the checkout, not of the package.
sys.path.insert(0, str(ROOT))

from btkd_det.errors import ConfigError  # noqa: E402
from btkd_det.interrupts import stopped_in_one_line  # noqa: E402
from btkd_det.preflight.output import check_output  # noqa: E402
from experiments.demo.shapes import ShapesSpec, make_shapes  # noqa: E402

HELP = {
    'seed': 'seed of the whole set',
    'train': 'training images',
    'val': 'validation images',
    'test': 'held-out test images',
    'image_size': 'side of the square images in pixels',
    'max_objects': 'objects in an image at most, crowds aside',
    'empty_share': 'share of images without any object',
    'crowd_share': 'share of images with a crowd region',
}


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n')[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('--out', default='data/shapes', help='folder to write')
    for field in dataclasses.fields(ShapesSpec):
        option = '--' + field.name.replace('_', '-')
        parser.add_argument(
            option, type=type(field.default), default=field.default, help=HELP[field.name]
        )
    return parser.parse_args()


@stopped_in_one_line()
def main():
    args = vars(parse_args())
    out = Path(args.pop('out'))
    try:
        check_output(out, '--out', folder=True)
        with Progress(transient=True) as progress:
            task = progress.add_task('images', total=None)
            report = lambda done, total: progress.update(task, completed=done, total=total)
            drawn = make_shapes(out, ShapesSpec(**args), report)
    except ConfigError as error:
        sys.exit(f'error: {error}')
    print(f'{"Drawn" if drawn else "There already"}: {out}')
    print(f'Look at {out / "contact_sheet.jpg"}')


if __name__ == '__main__':
    main()
