"""All benchmarks of a device one after another, each a piece that leaves a file."""

import json
import subprocess
import sys
import time
from pathlib import Path

import torch

from btkd_det.checkpoint.writing import write_text

ROOT = Path(__file__).parents[2]
BENCHMARK = [sys.executable, str(ROOT / 'tools' / 'benchmark.py')]
LARGE = ['--size', '800x1333', '--batch', '2', '--student', '50', '--teacher', '101']
SMALL = ['--size', '64', '--batch', '1', '--student', '18', '--teacher', '18']
_SMALL_SCALE = ['--rounds', '1', '--size', '64', '--axes', 'batch', '--most', '1']
_SMALL_SCALE += ['--processes', '2']
#: A piece that does not end by itself is ended after as many seconds.
LONGEST = 480
#: With less time left none begins.
SHORTEST = 15


def pieces(device, small):
    """The command of each piece, in the order of what it tells.

    Args:
        device (str): ``'cpu'`` or ``'cuda'``.
        small (bool): A rehearsal: the same commands at sizes that take seconds.

    Returns:
        dict[str, list[str]]: By name. Those of ``tools/benchmark.py`` write their ``--out``.
    """
    on = ['--device', device]
    amp = ['--amp', 'float16' if device == 'cuda' else 'bfloat16']
    if small:
        shapes, rounds = ['--shapes', '64x5'], ['--rounds', '2']
        return {
            'steps-amp': ['steps', *on, *SMALL, *amp, *rounds],
            'losses': ['losses', *on, *rounds, *shapes],
            'dense': ['dense', *on, *rounds, '--size', '256', '--heads', 'ATSS', 'GFL'],
            'teacher': ['teacher', *on, *SMALL, *amp, *rounds, '--no-compile'],
            'loading': ['loading', *on, *rounds, '--images', '256'],
            'scale': ['scale', *on, *_SMALL_SCALE],
            'tests': _tests(),
        }
    return {
        'tests': _tests(),
        'steps-amp': ['steps', *on, *LARGE, *amp, '--rounds', '15'],
        'losses': ['losses', *on, '--rounds', '50'],
        'dense': ['dense', *on, '--rounds', '30'],
        'loading': ['loading', *on],
        'teacher': ['teacher', *on, *LARGE, *amp, '--rounds', '20'],
        'steps': ['steps', *on, *LARGE, '--rounds', '10'],
        'losses-compiled': ['losses', *on, '--rounds', '50', '--compile', *_some_shapes()],
        'scale': ['scale', *on, '--size', '512'],
    }


def _some_shapes():
    return ['--shapes', '512x81', '4096x81', '100000x81']


def _tests():
    """The operators on both devices, and every loss under CUDA's own check of waiting."""
    files = ['tests/compat/ops', 'tests/losses/test_device.py', 'tests/datasets']
    return ['-m', 'pytest', '-q', '-p', 'no:cacheprovider', *files, '-k', 'cuda or auto']


def add_arguments(parser):
    """The options of the command."""
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--minutes', type=float, default=8, help='begin no piece after these')
    parser.add_argument('--small', action='store_true', help='a rehearsal, at tiny sizes')
    parser.add_argument('--only', nargs='+', metavar='PIECE', help='instead of all')
    parser.add_argument(
        '--folder', default='benchmarks', help='where the files go; a piece that has one is over'
    )


def run(device='cpu', minutes=8, small=False, only=None, folder='benchmarks'):
    """Run what has no file yet, each piece in a process of its own.

    Args:
        device (str): ``'cpu'`` or ``'cuda'``.
        minutes (float): What the whole may take: a piece that is not over by then is ended.
        small (bool): See :func:`pieces`.
        only (Sequence[str], optional): Names of pieces.
        folder (str): Of the files, ``<piece>-<device>.json``.

    Returns:
        dict: ``device``, ``seconds``, and for each piece ``done`` or why it has no file.

    Raises:
        SystemExit: A name is no piece, or there is no such device.
    """
    if device == 'cuda' and not torch.cuda.is_available():
        sys.exit('error: --device cuda: PyTorch finds no GPU here')
    known = pieces(device, small)
    wrong = [name for name in only or [] if name not in known]
    if wrong:
        sys.exit(f'error: --only: {wrong[0]!r}; valid: {", ".join(known)}')
    begin = time.monotonic()
    where = Path(folder).absolute()
    where.mkdir(parents=True, exist_ok=True)
    status = {}
    for name, arguments in known.items():
        out = where / f'{name}-{device}.json'
        if only and name not in only:
            continue
        left = 60 * minutes - (time.monotonic() - begin)
        if out.is_file():
            status[name] = 'done before'
        elif left < SHORTEST:
            status[name] = 'no time left'
        else:
            status[name] = _piece(name, arguments, out, min(left, LONGEST))
        print(f'{name}: {status[name]}', flush=True)
    return dict(device=device, seconds_in_all=round(time.monotonic() - begin, 1), pieces=status)


def _piece(name, arguments, out, seconds):
    """Run one; its output is in ``<piece>-<device>.log``."""
    of_tests = name == 'tests'
    command = [sys.executable, *arguments] if of_tests else [*BENCHMARK, *arguments, '--out', out]
    log = out.with_suffix('.log')
    begin = time.monotonic()
    try:
        with open(log, 'wb') as output:
            code = subprocess.run(
                command, stdout=output, stderr=subprocess.STDOUT, timeout=seconds, cwd=ROOT
            ).returncode
    except subprocess.TimeoutExpired:
        return f'ended after {seconds:.0f} s'
    lines = log.read_text(errors='replace').strip().splitlines() or ['no output']
    if of_tests:
        shown = 'python ' + ' '.join(arguments)
        result = dict(command=shown, exit_code=code, result=lines[-1])
        write_text(out, json.dumps(result, indent=2) + '\n')
    if code:
        return f'exit code {code}: {lines[-1][:300]}; see {log.name}'
    return f'done in {time.monotonic() - begin:.0f} s'
