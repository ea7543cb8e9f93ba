"""The short form of the long run."""

from .long_run import long_run
from .trial import prepare


def test_nothing_grows_and_the_teachers_files_are_not_needed(tmp_path):
    prepare()
    found = long_run(tmp_path, steps=60, every=10)
    assert not (tmp_path / 'teacher.py').exists()
    middle, last = found[2], found[-1]
    assert (middle['step'], last['step']) == (30, 60)
    # Validation loads its parts once.
    assert last['tensors'] == middle['tensors'], found
    # The last batch is still held, and batches have unequally many RoIs.
    assert last['values'] < 1.01 * middle['values'], found
    assert last['mib'] - middle['mib'] < 20, found
