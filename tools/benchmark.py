"""The ratios that the README quotes, each against a peer measured in the same run.

python tools/benchmark.py steps [--device cuda] [--amp float16] [--rounds N] [--out FILE]
python tools/benchmark.py losses [--device cuda] [--rounds N] [--compile] [--out FILE]
python tools/benchmark.py import [--rounds N] [--out FILE]
python tools/benchmark.py start [--rounds N] [--out FILE]
python tools/benchmark.py loading [--device cuda] [--rounds N] [--out FILE]
python tools/benchmark.py evaluation [--images N] [--rounds N] [--out FILE]
python tools/benchmark.py dense [--device cuda] [--rounds N] [--out FILE]
python tools/benchmark.py teacher [--device cuda] [--amp float16] [--rounds N] [--out FILE]
python tools/benchmark.py scale [--device cuda] [--rounds N] [--out FILE]
python tools/benchmark.py all [--device cuda] [--minutes M] [--folder DIR]
"""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The demo and the benchmarks are of the checkout, not of the package.
sys.path.insert(0, str(ROOT))

from btkd_det.checkpoint import weights_only  # noqa: E402
from btkd_det.checkpoint.writing import write_text  # noqa: E402
from btkd_det.errors import ConfigError  # noqa: E402
from btkd_det.interrupts import stopped_in_one_line  # noqa: E402
from btkd_det.preflight.output import check_output  # noqa: E402
from experiments.benchmarks import (  # noqa: E402
    benchmark_suite,
    dense_benchmark,
    evaluation_benchmark,
    import_benchmark,
    loading_benchmark,
    loss_benchmark,
    scale_benchmark,
    start_benchmark,
    step_benchmark,
    teacher_benchmark,
)
from experiments.benchmarks.benchmark_table import benchmark_table  # noqa: E402

#: Name to what it measures, in a few words, and the module that does it.
BENCHMARKS = {
    'steps': ('a training step, distilled and plain', step_benchmark),
    'losses': ('BTKD, its host alone, and a loop over the rows', loss_benchmark),
    'dense': ('all anchors of a dense head, beside its own loss', dense_benchmark),
    'teacher': ("a teacher's forward in several forms", teacher_benchmark),
    'scale': ('how a step grows with images, RoIs, classes, processes', scale_benchmark),
    'import': ('import btkd_det, beyond what it imports', import_benchmark),
    'start': ('a training, from the command to its first step', start_benchmark),
    'loading': ('small images in memory, and one by one', loading_benchmark),
    'evaluation': ("COCO's numbers, plain and fast", evaluation_benchmark),
    'all': ('what a device needs, in pieces that each leave a file', benchmark_suite),
}


def parse_args():
    parser = argparse.ArgumentParser(description='Measure what distillation costs.')
    commands = parser.add_subparsers(dest='command', required=True)
    for name, (text, module) in BENCHMARKS.items():
        command = commands.add_parser(name, help=text)
        module.add_arguments(command)
        command.add_argument('--out', metavar='FILE', help='write the result as JSON')
    return parser.parse_args()


@stopped_in_one_line()
@weights_only()
def main():
    options = vars(parse_args())
    command, out = options.pop('command'), options.pop('out')
    if out:
        try:
            check_output(out, '--out')
        except ConfigError as error:
            sys.exit(f'error: {error}')
    shown = ' '.join(['python tools/benchmark.py', *sys.argv[1:]])
    result = dict(command=shown, **BENCHMARKS[command][1].run(**options))
    text = json.dumps(result, indent=2)
    print(f'\n{benchmark_table(result)}')
    if not out:
        print(f'\n{text}')
    else:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        write_text(out, text + '\n')
        print(f'Written: {out}')


if __name__ == '__main__':
    main()
