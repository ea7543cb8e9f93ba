"""The evaluation's benchmark counts something, and both ways give the same."""

from experiments.benchmarks import evaluation_benchmark
from experiments.benchmarks.benchmark_table import benchmark_table


def test_both_ways_are_measured_and_agree(capsys):
    result = evaluation_benchmark.run(images=20, classes=3, objects=4, detections=9, rounds=1)
    assert set(result['seconds']) == {'pycocotools', 'faster-coco-eval'}
    assert result['largest_difference'] < 1e-12
    table = benchmark_table(result)
    assert 'pycocotools / faster-coco-eval' in table
    assert 'largest difference of the twelve numbers' in table


def test_some_of_what_is_drawn_is_found():
    truth, found = evaluation_benchmark.draw(20, 3, 4, 9)
    numbers, by_class = evaluation_benchmark.coco_numbers(truth, found)
    assert 0.02 < numbers['AP'] < 0.9
    assert set(by_class) == {'1', '2', '3'}
    assert len(found) == 20 * 9
