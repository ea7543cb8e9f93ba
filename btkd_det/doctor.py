"""``python -m btkd_det.doctor``: what is installed, what works, and how to mend what does not.

Imports the standard library only, and tries everything else in a process of its own.
"""

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .compat.distributions import MAINTAINED, providers
from .compat.faults import conflicts, explain, install
from .compat.probe import ENTRANCES, NEEDS, OPTIONAL, waits_for

__all__ = ['diagnose', 'explain', 'main']

# The probe imports parts of btkd_det that work alone, without the package's __init__, which
# imports everything that may be broken.
PROBE = """
import sys, types
package = sys.modules['btkd_det'] = types.ModuleType('btkd_det')
package.__path__ = [sys.argv[1]]
from btkd_det.compat import probe
probe.main(sys.argv[2:])
"""
PARTS = {'detection': 'btkd_det', 'classification': 'mmpretrain', 'mmrazor': 'mmrazor'}
FAULTY = ('missing', 'broken')
TITLES = {'cv2': 'opencv'}


def diagnose(report: Callable) -> dict[str, dict[str, Any]]:
    """Try every package that btkd_det stands on.

    Args:
        report (Callable): Called with name and result as soon as there is one. A result is a
            dict with ``state``: works, missing, broken, or waiting (for another one, in
            ``cause``).

    Returns:
        dict[str, dict]: All results by name.
    """
    results = {}
    while len(results) < len(NEEDS):
        faulty = {name for name, result in results.items() if result['state'] in FAULTY}
        for name in NEEDS:
            cause = waits_for(name, faulty)
            if name not in results and cause is not None:
                results[name] = dict(state='waiting', cause=cause)
        left = [name for name in NEEDS if name not in results]
        for name, result in _probe(left) if left else ():
            results[name] = result
            report(name, result)
    return results


def main() -> int:
    """Print the report.

    Returns:
        int: Exit code, 0 where all that is installed works and all that is needed is there; 130
        after Ctrl-C.
    """
    system = f'{platform.system()} {platform.machine()}'
    print(f'Python {platform.python_version()} on {system}, {sys.executable}\n', flush=True)
    try:
        results = diagnose(lambda name, result: print(_row(name, result), end='', flush=True))
    except KeyboardInterrupt:
        print('\nStopped.', file=sys.stderr)
        return 130
    print()
    for part, name in PARTS.items():
        print(_line(part, _part(name, results)), end='')
    faults = _faults(results)
    if not faults:
        print('\nAll that is installed works.')
        return 0
    print(f'\n{len(faults)} to mend, from top to bottom:')
    for name, line in faults:
        print(f'  {name}: {line}')
    return 1


def _probe(names: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Results of the probe, one by one; ends early where an import ends the interpreter."""
    package = os.path.dirname(os.path.abspath(__file__))
    command = [sys.executable, '-c', PROBE, package, *names]
    tried, results = None, 0
    with (
        tempfile.TemporaryFile('w+', errors='replace') as noise,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=noise, text=True) as process,
    ):
        for line in process.stdout:
            result = json.loads(line)
            name = result.pop('name')
            tried = name if result['state'] == 'tried' else None
            if not tried:
                results += 1
                yield name, result
        code = process.wait()
        noise.seek(0)
        last = (noise.read().strip().splitlines() or ['no output'])[-1]
    if tried is None and (code or not results):
        raise RuntimeError(f'the probe itself failed: {last}')
    if tried:
        yield tried, dict(state='broken', error=f'ends Python with {_ending(code)}: {last}')


def _ending(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f'exit code {code}'


def _row(name: str, result: dict[str, Any]) -> str:
    found = providers(name)
    version = result.get('version') or next(iter(found.values()), '')
    notes = ' and '.join(found) if name in MAINTAINED or name == 'cv2' else ''
    if result.get('torchvision'):
        notes = "torchvision's: this MMCV has no compiled ones"
    elif name == 'ops':
        notes = "MMCV's own, compiled"
    if result['state'] != 'works':
        notes = result['state']
    row = _line(name, f'{version:<15}{notes}' if version else notes)
    if name == 'torch' and result['state'] == 'works':
        none = 'none that torch sees' if result['cuda'] else 'none, this torch is a CPU build'
        row += _line('GPU', ', '.join(result['devices']) or none)
    return row


def _line(title: str, text: str) -> str:
    return f'  {TITLES.get(title, title):<15}{text}'.rstrip() + '\n'


def _part(name: str, results: dict[str, dict[str, Any]]) -> str:
    for result in (results[name], results['btkd_det']):
        if result.get('unused'):
            return 'off, this release does not use it'
        if result['state'] == 'missing':
            return f'off, {result["explanation"]}'
        if result['state'] == 'waiting':
            return f'off, waits for {TITLES.get(result["cause"], result["cause"])}'
        if result['state'] == 'broken':
            return 'off, see below'
    return 'on'


def _faults(results: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """What to mend, (name, line) each; what is not installed comes in one line."""
    faults = list(conflicts().items())
    missing = [
        name
        for name, result in results.items()
        if result['state'] == 'missing' and name not in OPTIONAL
    ]
    if missing:
        names = ', '.join(TITLES.get(name, name) for name in missing)
        faults.append((names, f'not installed: {install(missing)}'))
    for name, result in results.items():
        if result['state'] == 'broken':
            again = f'python -c "import {ENTRANCES.get(name, name)}"'
            unknown = f'{result["error"]} (no known cause, see: {again})'
            faults.append((name, result.get('explanation') or unknown))
    return faults


if __name__ == '__main__':
    sys.exit(main())
