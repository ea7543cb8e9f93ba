"""Write a paper's classification recipe as a config file that tools/train.py trains.

    python tools/make_recipe.py DATASET --list
    python tools/make_recipe.py DATASET --student S [--teacher T --method M] [--out FILE]
    python tools/make_recipe.py folder --data-root D --student S [--teacher T --method M]

Train the teacher first, by its own recipe (--method teacher): the student's recipe looks for it
where tools/train.py leaves it.
"""

import argparse
import contextlib
import io
import re
import shlex
import sys
from pathlib import Path

from btkd_det.checkpoint.writing import write_text
from btkd_det.config.tools import tool_command
from btkd_det.errors import ConfigError
from btkd_det.interrupts import stopped_in_one_line
from btkd_det.preflight.output import check_output
from btkd_det.recipes import (
    EVERY_DATASET,
    METHODS,
    PLAIN,
    config_text,
    file_name,
    find_protocol,
    read_command,
    recipe,
    trained_teacher,
)
from btkd_det.report.table import text_table

FOLDER = Path('work_dirs', 'recipes')
# The options that recipe() takes under the same name.
OPTIONS = (
    'teacher',
    'student',
    'method',
    'protocol',
    'data',
    'epochs',
    'batch_size',
    'gpus',
    'temperature',
    'cache',
    'views',
    'classes',
    'data_root',
    'teacher_checkpoint',
)


def parse_args(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('dataset', help=', '.join(EVERY_DATASET))
    parser.add_argument('--teacher', metavar='T', help="the teacher's network")
    parser.add_argument('--student', metavar='S', help="the student's network")
    parser.add_argument(
        '--method', metavar='M', help=f'{", ".join(METHODS)} (default: student, without a teacher)'
    )
    parser.add_argument(
        '--protocol', default='common', help="'common' (default), or 'btkd': its authors' own"
    )
    parser.add_argument('--out', metavar='FILE', help=f'default: {FOLDER}/NAME.py')
    parser.add_argument('--force', action='store_true', help='overwrite a recipe that was edited')
    parser.add_argument('--list', action='store_true', help='show the pairs and the methods')
    group = parser.add_argument_group('options of the recipe')
    group.add_argument(
        '--data', default='files', help="'files' (default): one by one; 'memory': by the batch"
    )
    group.add_argument('--epochs', type=int, help='milestones and warm-up scale with them')
    group.add_argument('--batch-size', type=int, help='of all processes together')
    group.add_argument('--gpus', type=int, default=1, help='that train together (default: 1)')
    group.add_argument('--temperature', type=float, help='of KD, for the methods with KD')
    group.add_argument('--cache', metavar='FILE', help="the teacher's logits, of cache_teacher.py")
    group.add_argument('--views', type=int, metavar='K', help='fixed augmented views of an image')
    group.add_argument('--classes', type=int, metavar='N', help='the first N classes alone')
    group.add_argument('--data-root', metavar='FOLDER', help="the data set's folder")
    group.add_argument('--teacher-checkpoint', metavar='CKPT', help="the teacher's weights")
    args = parser.parse_args(arguments)
    if args.method is None and not args.teacher:
        args.method = 'student'
    return args


def listing(dataset, protocol):
    """The pairs of a protocol and all methods; raises ConfigError."""
    plan = find_protocol(dataset, protocol)
    methods = [f'--method {name:9} {row.source}' for name, row in METHODS.items()]
    return '\n\n'.join(
        [
            f'{dataset}: {plan.source}',
            f'--protocol {", ".join(EVERY_DATASET[dataset])}',
            text_table(['--teacher', '--student'], plan.pairs),
            '\n'.join(methods),
            f'Any other pair, and alone by --method student or teacher: {", ".join(plan.networks)}',
        ]
    )


def write(args):
    """Write the recipe that the command line asks for; gives the file. Raises ConfigError."""
    check_output(args.out or FOLDER / 'recipe.py', '--out')
    text = make(args)
    name = file_name(args.dataset, args.teacher, args.student, args.method, args.protocol)
    path = Path(args.out or FOLDER / name)
    if path.is_file() and not args.force and _is_edited(path.read_text(encoding='utf-8')):
        raise ConfigError(
            f'--out: {path} was edited since it was written; valid: another file, or --force, '
            'which overwrites it'
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    return path


def make(args):
    """The text of the recipe; raises ConfigError."""
    if args.method is None:
        with_teacher = [name for name in METHODS if name not in PLAIN]
        raise ConfigError(
            f'--method: missing, and --teacher is {args.teacher}; valid: "teacher" to train it '
            f'alone, or, with --student, {", ".join(with_teacher)}'
        )
    options = {name: getattr(args, name) for name in OPTIONS}
    if args.method not in PLAIN and not args.teacher_checkpoint and args.teacher:
        find_protocol(args.dataset, args.protocol)
        options['teacher_checkpoint'] = trained_teacher(args.dataset, args.teacher, args.protocol)
    cfg = recipe(args.dataset, **options)
    command = shlex.join(['python', 'tools/make_recipe.py', *_arguments(args)])
    return config_text(cfg, args.dataset, args.method, args.protocol, command)


def _is_edited(text):
    """Whether a file is not what the command in its first lines writes."""
    command = read_command(text)
    if command is None:
        return True
    # Which of the teacher's checkpoints it found is no edit.
    plain = lambda source: re.sub(r'epoch_\d+\.pth', '', source)
    try:
        # A command that is none any more is not this command's mistake.
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            args = parse_args(command[2:])
        return plain(make(args)) != plain(text)
    except (ConfigError, SystemExit):
        return True


def _arguments(args):
    """The command line again, without what is at its default."""
    defaults = parse_args([args.dataset])
    arguments = [args.dataset]
    for name in OPTIONS:
        value = getattr(args, name)
        if value != getattr(defaults, name):
            option, value = f'--{name.replace("_", "-")}', str(value)
            arguments += [f'{option}={value}'] if value.startswith('-') else [option, value]
    return arguments


@stopped_in_one_line()
def main():
    args = parse_args()
    try:
        if args.list:
            print(listing(args.dataset, args.protocol))
            return
        path = write(args)
    except ConfigError as error:
        sys.exit(f'error: {error}')
    print(f'Written: {path}\nTrain:   {shlex.join([*tool_command("train"), str(path)])}')


if __name__ == '__main__':
    main()
