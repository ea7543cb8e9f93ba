"""Each table of costs, from the results of the benchmarks."""

import json
from pathlib import Path

FOLDER = Path(__file__).parent
DEVICES = ('cpu', 'cuda')
BTKD = 'roi_logits: BTKD around KD'
BOTH = 'roi_logits: BTKD around KD, fpn: PKD'


class Files:
    """The results of the benchmarks, by name and device.

    Args:
        folder (Path): Where they are.
    """

    def __init__(self, folder=FOLDER):
        self.folder = folder

    def read(self, name, device='cpu'):
        """A result; ``None`` where it has not been measured.

        Args:
            name (str): Such as ``'steps'``.
            device (str): ``'cpu'`` or ``'cuda'``.

        Returns:
            dict | None: What the benchmark wrote.
        """
        file = self.folder / f'{name}-{device}.json'
        return json.loads(file.read_text(encoding='utf-8')) if file.is_file() else None

    def link(self, name, device, page):
        """A link from a page to the file."""
        up = '../' * (len(Path(page).parts) - 1)
        return f'[{name}-{device}]({up}experiments/benchmarks/{name}-{device}.json)'


def rows_of(header, rows):
    """A Markdown table.

    Args:
        header (Sequence[str]): Of the columns.
        rows (Iterable[Sequence]): One for each line.

    Returns:
        str: The table.
    """
    lines = [header, ['---'] * len(header), *rows]
    return '\n'.join('| ' + ' | '.join(map(str, line)) + ' |' for line in lines)


def costs(files, page):
    """README's table: a line for each question, a column for each device."""
    steps = {device: files.read(_steps(device), device) for device in DEVICES}
    losses = {device: files.read('losses', device) for device in DEVICES}
    dense = {device: files.read('dense', device) for device in DEVICES}
    loading = {device: files.read('loading', device) for device in DEVICES}
    floor = lambda name: [_ratio(steps[d], 'ratio_to_floor', name) for d in DEVICES]
    shape = {device: _shape(losses[device], 512, 81) for device in DEVICES}
    files_of = lambda name: ', '.join(
        files.link(name, d, page) for d in DEVICES if files.read(name, d)
    )
    of_steps = ', '.join(files.link(_steps(d), d, page) for d in DEVICES)
    rows = [
        ["a distilled step / (plain step + the teacher's forward): `btkd-paper`", *floor(BTKD)],
        ['the same: PKD at `fpn`', *floor('fpn: PKD')],
        ['the same: both', *floor(BOTH)],
    ]
    rows = [[*row, of_steps] for row in rows]
    rows.append(
        [
            "PKD at `fpn` / MMRazor's PKD, a step",
            *(_plain(steps[d], 'ratio_to_mmrazor') for d in DEVICES),
            of_steps,
        ]
    )
    for name in ('btkd-paper', 'btkd'):
        cells = [_added(shape[d], name) for d in DEVICES]
        rows.append([f'what `{name}` adds to KD, 512 x 81 logits', *cells, files_of('losses')])
    for head in ('RetinaNet', 'ATSS'):
        cells = [_dense(dense[d], head, 'dense_logits: btkd') for d in DEVICES]
        what = f"`btkd` at all anchors / {head}'s own classification loss, 800 x 1333"
        rows.append([what, *cells, files_of('dense')])
    cells = [_share(loading[d]) for d in DEVICES]
    rows.append(['loading 32 x 32 images from memory, of a WRN-16-2 step', *cells])
    rows[-1].append(files_of('loading'))
    rows += _on_a_cpu(files, page)
    return rows_of(['', *map(_device_name, DEVICES), 'files'], rows)


def _on_a_cpu(files, page):
    """What no GPU takes part in."""
    evaluation = json.loads((files.folder / 'evaluation-cpu.json').read_text(encoding='utf-8'))
    imports = json.loads((files.folder / 'import.json').read_text(encoding='utf-8'))
    link = files.link('import', 'cpu', page).replace('import-cpu', 'import')
    start = files.read('start')
    cells = [f'{start["start_to_mmdet"][name]:.2f}' for name in ('plain', 'distilled')]
    return [
        [
            "from the command to the first step / MMDetection's: plain, distilled",
            ', '.join(cells),
            '',
            files.link('start', 'cpu', page),
        ],
        [
            "COCO's twelve numbers of 5,000 images: pycocotools / `tools/test.py --fast-eval`",
            f'{evaluation["pycocotools_to_fast"]:.1f}',
            '',
            files.link('evaluation', 'cpu', page),
        ],
        [
            '`import btkd_det` beyond what it imports',
            f'{imports["added_seconds"]:.2f} s',
            '',
            link,
        ],
    ]


def _steps(device):
    return 'steps-amp' if device == 'cuda' else 'steps'


def _device_name(device):
    return {'cpu': 'CPU', 'cuda': 'H100'}[device]


def _ratio(result, key, name):
    return f'{result[key][name]:.2f}' if result else 'not measured'


def _plain(result, key):
    return f'{result[key]:.2f}' if result and key in result else 'not measured'


def _shape(result, rows, classes):
    parts = result['shapes'] if result else []
    return next((p for p in parts if (p['rows'], p['classes']) == (rows, classes)), None)


def _added(part, name):
    if part is None:
        return 'not measured'
    added = 1000 * (part['seconds'][name]['median'] - part['seconds']['host']['median'])
    return f'{added:.1f} ms'


def _dense(result, head, name):
    parts = [part for part in result['heads'] if part['head'] == head] if result else []
    return f'{parts[0]["ratio_to_own"][name]:.2f}' if parts else 'not measured'


def _share(result):
    return f'{100 * result["share_of_step"]["in memory"]:.1f} %' if result else 'not measured'


def machines(files, page):
    """What was measured where."""
    rows = []
    for device in DEVICES:
        for path in sorted(files.folder.glob(f'*-{device}.json')):
            name = path.stem.removesuffix(f'-{device}')
            found = files.read(name, device)
            where = found['environment']
            threads = f', {where["threads"]} threads' if 'threads' in where else ''
            torch = where.get('torch', '')
            rows.append(
                [
                    files.link(name, device, page),
                    f'{where["device"]}{threads}',
                    torch,
                    f'`{where["commit"]}`',
                    f'`{found["command"]}`',
                ]
            )
    return rows_of(['file', 'machine', 'PyTorch', 'commit', 'command'], rows)


def steps(files, page):
    """Milliseconds of a step and its ratio to the floor, for each setting."""
    rows = []
    for name, device in (('steps', 'cpu'), ('steps', 'cuda'), ('steps-amp', 'cuda')):
        found = files.read(name, device)
        if found is None:
            continue
        setting = found['setting']
        size = setting['image']
        size = f'{size} x {size}' if isinstance(size, int) else ' x '.join(map(str, size))
        title = f'{_device_name(device)}, {setting["batch"]} of {size}'
        title += f', {setting["amp"]}' if setting.get('amp') else ''
        for step, seconds in found['seconds'].items():
            ratio = found['ratio_to_floor'].get(step)
            spread = f'{1000 * seconds["min"]:.0f} to {1000 * seconds["max"]:.0f}'
            rows.append(
                [
                    title,
                    step,
                    f'{1000 * seconds["median"]:.0f}',
                    spread,
                    f'{ratio:.2f}' if ratio else '',
                ]
            )
            title = ''
    return rows_of(['', '', 'ms, median', 'least to most', 'to the floor'], rows)


def memory(files, page):
    """Peak memory against its floor."""
    rows = []
    for name, device in (('steps', 'cuda'), ('steps-amp', 'cuda')):
        found = files.read(name, device)
        if found is None or 'memory' not in found:
            continue
        held = found['memory']
        precision = found['setting'].get('amp') or 'float32'
        rows.append([precision, 'the floor', f'{held["floor_bytes"] / 2**20:.0f}', ''])
        for step, peak in held['peak_bytes'].items():
            rows.append(['', step, f'{peak / 2**20:.0f}', f'{held["peak_to_floor"][step]:.2f}'])
    return rows_of(['', '', 'MiB', 'to the floor'], rows)


def losses(files, page):
    """BTKD beside KD at every shape."""
    compiled = files.read('losses-compiled', 'cuda')
    rows = []
    for part in files.read('losses')['shapes']:
        size = part['rows'], part['classes']
        on_gpu = _shape(files.read('losses', 'cuda'), *size)
        cells = [f'{size[0]:,} x {size[1]:,}', *_beside_kd(part), *_beside_kd(on_gpu)]
        rows.append([*cells, *_beside_kd(_shape(compiled, *size))])
    header = ['rows x classes']
    for title in ('CPU', 'H100', 'H100, compiled'):
        header += [f'{title}: KD, ms', '`btkd-paper` / KD', '`btkd` / KD']
    return rows_of(header, rows)


def _beside_kd(part):
    if part is None:
        return '', '', ''
    ratios = [f'{part["btkd_to_host"][name]:.2f}' for name in ('btkd-paper', 'btkd')]
    return f'{1000 * part["seconds"]["host"]["median"]:.2f}', *ratios


def dense(files, page):
    """All anchors of a dense head beside its own loss."""
    rows = []
    for device in DEVICES:
        found = files.read('dense', device)
        for part in found['heads'] if found else ():
            own = f'{1000 * part["seconds"]["own classification loss"]["median"]:.1f}'
            title = [_device_name(device), part['head'], f'{part["anchors"]:,}', own]
            for name, ratio in part['ratio_to_own'].items():
                spread = part['quartiles_of_ratio_to_own'][name]
                ratio = f'{ratio:.2f} ({spread["lower"]:.2f} to {spread["upper"]:.2f})'
                rows.append([*title, name, ratio, f'{part["peak_to_own"][name]:.2f}'])
                title = ['', '', '', '']
    header = [
        '',
        'head',
        'anchors',
        'own loss, ms',
        '',
        'time to its own',
        'peak memory to its own',
    ]
    return rows_of(header, rows)


def teacher(files, page):
    """The teacher's forward in several forms."""
    found = {device: files.read('teacher', device) for device in DEVICES}
    measured = {d: f for d, f in found.items() if f}
    names = {d: {_form(n): n for n in result['seconds']} for d, result in measured.items()}
    forms = dict.fromkeys(form for d in reversed(measured) for form in names[d])
    rows = []
    for form in forms:
        cells = []
        for device, result in measured.items():
            name = names[device].get(form)
            cells.append(f'{result["time_to_as_it_is"][name]:.2f}' if name else '')
            cells.append(f'{result["relative_difference"][name]:.0e}' if name else '')
        rows.append([form, *cells])
    header = ['']
    for device in measured:
        header += [f'{_device_name(device)}: time to as it is', 'relative difference']
    return rows_of(header, rows)


def _form(name):
    """A form's name without the type that is half precision on its device."""
    return name.replace('bfloat16', 'half').replace('float16', 'half')


def scale(files, page):
    """The powers that a step grows with."""
    rows = []
    for device in DEVICES:
        found = files.read('scale', device)
        for axis, part in found['axes'].items() if found else ():
            values = list(part['seconds'])
            for name, power in part['growth'].items():
                first, last = (part['seconds'][v][name]['median'] for v in (values[0], values[-1]))
                rows.append(
                    [
                        _device_name(device),
                        f'{axis}, {values[0]} to {values[-1]}',
                        name,
                        f'{1000 * first:.0f} to {1000 * last:.0f}',
                        f'{power:.2f}',
                        f'{part["ratio_to_plain"][values[-1]][name]:.2f}',
                    ]
                )
    return rows_of(['', '', '', 'ms', 'power', 'last, to the plain step'], rows)


def sent(files, page):
    """Processes on a CPU, and the bytes that distillation sends."""
    found = files.read('scale')
    if found is None:
        return 'Not measured.'
    rows = []
    for count, seconds in found['processes'].items():
        plain = seconds['plain']['median']
        cells = [
            f'{1000 * each["median"]:.0f} ({each["median"] / plain:.2f})'
            for each in seconds.values()
        ]
        rows.append([count, *cells])
    names = list(found['all_reduced'])
    rows.append(['bytes sent in a step', *(found['all_reduced'][name] for name in names)])
    return rows_of(['processes', *(f'{name}, ms (to plain)' for name in names)], rows)


def loading(files, page):
    """Images of 32 x 32 pixels a second."""
    rows = []
    for device in DEVICES:
        found = files.read('loading', device)
        for name, number in found['images_per_second'].items() if found else ():
            rows.append([_device_name(device), name, f'{number:,}'])
    return rows_of(['', '', 'images a second'], rows)


#: By the name between whose marks it stands.
TABLES = {
    table.__name__: table
    for table in (costs, machines, steps, memory, losses, dense, teacher, scale, sent, loading)
}
