"""Turn a distillation config of MMRazor into one of btkd_det, and its checkpoint into the student.

python tools/from_mmrazor.py CONFIG [--out FILE] [--partial]
python tools/from_mmrazor.py CONFIG --checkpoint CKPT --checkpoint-out STUDENT.pth
"""

import argparse
import sys
from pathlib import Path

from btkd_det.errors import ConfigError
from btkd_det.from_mmrazor import convert_checkpoint, convert_config


def parse_args():
    parser = argparse.ArgumentParser(
        description='Leave MMRazor: its config and checkpoint as ours.'
    )
    parser.add_argument('config', help="MMRazor's config, or a package's ('mmrazor::...')")
    parser.add_argument('--out', help='where the config goes (default: CONFIG, ending in _btkd.py)')
    parser.add_argument(
        '--partial', action='store_true', help='write the config even if something is missing in it'
    )
    parser.add_argument('--checkpoint', help='a checkpoint that MMRazor saved while distilling')
    parser.add_argument('--checkpoint-out', help='where the plain student of it goes')
    args = parser.parse_args()
    if bool(args.checkpoint) != bool(args.checkpoint_out):
        parser.error('--checkpoint and --checkpoint-out go together')
    args.out = Path(args.out or f'{Path(args.config.rpartition("::")[2]).stem}_btkd.py')
    return args


def main():
    args = parse_args()
    try:
        converted = convert_config(args.config)
        for line in converted.missing:
            print(f'not translated: {line}', file=sys.stderr)
        for line in converted.notes:
            print(f'note: {line}')
        if converted.missing and not args.partial:
            sys.exit('nothing was written; --partial writes the config without these')
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(converted.text(), encoding='utf-8')
        print(f'Written: {args.out}')
        if args.checkpoint:
            count = convert_checkpoint(args.checkpoint, args.checkpoint_out)
            print(
                f'Written: {args.checkpoint_out}: {count["taken"]} tensors of the student; left '
                f'behind: {count["teacher"]} of the teacher, {count["distiller"]} of the distiller'
            )
    except ConfigError as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
