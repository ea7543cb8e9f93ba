"""The ratios that the README quotes, each against a peer measured in the same run.

python tools/benchmark.py steps [--device cuda] [--rounds N] [--out FILE]
python tools/benchmark.py losses [--device cuda] [--rounds N] [--compile] [--out FILE]
python tools/benchmark.py import [--rounds N] [--out FILE]
python tools/benchmark.py loading [--device cuda] [--rounds N] [--out FILE]
python tools/benchmark.py evaluation [--images N] [--rounds N] [--out FILE]
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
from btkd_det.preflight.output import check_output  # noqa: E402
from experiments.benchmarks import (  # noqa: E402
    evaluation_benchmark,
    import_benchmark,
    loading_benchmark,
    loss_benchmark,
    step_benchmark,
)
from experiments.benchmarks.benchmark_table import benchmark_table  # noqa: E402

BENCHMARKS = {
    'steps': step_benchmark,
    'losses': loss_benchmark,
    'import': import_benchmark,
    'loading': loading_benchmark,
    'evaluation': evaluation_benchmark,
}


def parse_args():
    parser = argparse.ArgumentParser(description='Measure what distillation costs.')
    commands = parser.add_subparsers(dest='command', required=True)
    steps = commands.add_parser('steps', help='a training step, distilled and plain')
    steps.add_argument('--student', type=int, default=18, help="depth of the student's ResNet")
    steps.add_argument('--teacher', type=int, default=101, help="depth of the teacher's ResNet")
    steps.add_argument('--size', type=int, default=256, help='of the images, in pixels')
    steps.add_argument('--batch', type=int, default=1, help='images in a batch')
    steps.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    steps.add_argument('--rounds', type=int, default=10)
    losses = commands.add_parser('losses', help='BTKD, its host alone, and a loop over the rows')
    loss_benchmark.add_arguments(losses)
    imports = commands.add_parser('import', help='import btkd_det, beyond what it imports')
    imports.add_argument('--rounds', type=int, default=5)
    loading = commands.add_parser('loading', help='small images in memory, and one by one')
    loading_benchmark.add_arguments(loading)
    evaluation = commands.add_parser('evaluation', help="COCO's numbers, plain and fast")
    evaluation_benchmark.add_arguments(evaluation)
    for command in (steps, losses, imports, loading, evaluation):
        command.add_argument('--out', metavar='FILE', help='write the result as JSON')
    return parser.parse_args()


@weights_only()
def main():
    options = vars(parse_args())
    command, out = options.pop('command'), options.pop('out')
    if out:
        try:
            check_output(out, '--out')
        except ConfigError as error:
            sys.exit(f'error: {error}')
    result = dict(command=f'python {" ".join(sys.argv)}', **BENCHMARKS[command].run(**options))
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
