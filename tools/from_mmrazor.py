"""Turn a distillation config of MMRazor into one of btkd_det, and its checkpoint into the student.

python tools/from_mmrazor.py CONFIG [--out FILE] [--partial]
python tools/from_mmrazor.py CONFIG --checkpoint CKPT --checkpoint-out STUDENT.pth
"""

import argparse
import sys
from pathlib import Path

from btkd_det.checkpoint.writing import write_text
from btkd_det.errors import ConfigError
from btkd_det.from_mmrazor import convert_config, read_student, save_student
from btkd_det.interrupts import stopped_in_one_line


def parse_args(args=None):
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
    args = parser.parse_args(args)
    if bool(args.checkpoint) != bool(args.checkpoint_out):
        parser.error('--checkpoint and --checkpoint-out go together')
    args.out = args.out or f'{Path(args.config.rpartition("::")[2]).stem}_btkd.py'
    return args


def check_outputs(args):
    """Raise a ConfigError where a result cannot be written, or would replace what was given."""
    given = {Path(path).resolve(): path for path in (args.config, args.checkpoint) if path}
    for option, path in (('--out', args.out), ('--checkpoint-out', args.checkpoint_out)):
        if not path:
            continue
        if Path(path).is_dir():
            raise ConfigError(f'{option}: {path} is a folder; valid: the file to write')
        if Path(path).resolve() in given:
            raise ConfigError(f'{option}: {path} is what is to be translated; valid: another file')
        if any(parent.is_file() for parent in Path(path).parents):
            raise ConfigError(f'{option}: {path} goes through a file; valid: a file in a folder')
    if args.checkpoint_out and Path(args.checkpoint_out).resolve() == Path(args.out).resolve():
        raise ConfigError(f'--checkpoint-out: {args.checkpoint_out} is --out, too; valid: another')


@stopped_in_one_line()
def main():
    args = parse_args()
    try:
        check_outputs(args)
        converted = convert_config(args.config)
        for line in converted.missing:
            print(f'not translated: {line}', file=sys.stderr)
        for line in converted.notes:
            print(f'note: {line}')
        if converted.missing and not args.partial:
            sys.exit('nothing was written; --partial writes the config without these')
        if not converted.cfg.model.distill:
            sys.exit(
                'error: none of its losses is left, so there would be nothing to distill; nothing '
                'was written. Valid: a config with a loss that btkd_det has'
            )
        # Before anything is written: a checkpoint that cannot be read leaves nothing half done.
        student = read_student(args.checkpoint) if args.checkpoint else None
        write(args, converted, student)
    except ConfigError as error:
        sys.exit(f'error: {error}')
    except OSError as error:
        sys.exit(f'error: {error.filename}: {error.strerror}')


def write(args, converted, student):
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, converted.text())
    print(f'Written: {out}')
    if student:
        weights, count = student
        save_student(weights, args.checkpoint_out)
        print(
            f'Written: {args.checkpoint_out}: {count["taken"]} tensors of the student; left '
            f'behind: {count["teacher"]} of the teacher, {count["distiller"]} of the distiller'
        )


if __name__ == '__main__':
    main()
