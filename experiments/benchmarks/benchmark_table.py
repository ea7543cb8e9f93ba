"""A benchmark's result as a table for a terminal: durations, and the ratios that it is about."""

from btkd_det.report.table import text_table

#: Keys of a result that hold ratios, and what they are.
RATIOS = {
    'ratio_to_floor': "distilled step / (plain step + teacher's forward)",
    'ratio_to_mmrazor': "PKD at fpn / MMRazor's PKD",
    'btkd_to_host': 'BTKD around KD / KD alone',
    'loop_to_btkd': 'BTKD row by row / ours',
    'share_of_step': "loading's share of a step",
    'pycocotools_to_fast': 'pycocotools / faster-coco-eval',
    'largest_difference': 'largest difference of the twelve numbers',
    'images_per_second': 'images a second',
    'start_to_mmdet': "to the first step: tools/train.py / MMDetection's",
    'added_seconds': 'seconds of import btkd_det beyond what it imports',
}


def benchmark_table(result):
    """The tables of a result.

    Args:
        result (dict): What a benchmark's ``run`` gave.

    Returns:
        str: Medians and their ranges in milliseconds, then the ratios; for each shape, where
        there are several.
    """
    parts = []
    for part in result.get('shapes', [result]):
        if 'rows' in part:
            parts.append(f'{part["rows"]} x {part["classes"]} logits')
        times = [
            [name, *(f'{1000 * values[key]:.4g}' for key in ('median', 'min', 'max'))]
            for name, values in part.get('seconds', {}).items()
        ]
        if times:
            parts.append(text_table(['measured', 'median ms', 'min ms', 'max ms'], times))
        ratios = list(_ratios(part))
        if ratios:
            parts.append(text_table(['ratio', 'value'], ratios))
    return '\n\n'.join(parts)


def _ratios(part):
    for key, title in RATIOS.items():
        value = part.get(key)
        if isinstance(value, dict):
            yield from ([f'{title}: {name}', f'{each:g}'] for name, each in value.items())
        elif value is not None:
            yield [title, f'{value:g}']
