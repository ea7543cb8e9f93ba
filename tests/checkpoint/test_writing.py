"""What is written is on the disk before its name says so, and the name, too."""

import os
import stat

import pytest

from btkd_det.checkpoint.writing import write_text


@pytest.fixture
def flushed(monkeypatch):
    """What the disk was told to hold: the size of a file, or that it is a folder."""
    seen, fsync = [], os.fsync

    def noting(descriptor):
        found = os.fstat(descriptor)
        seen.append('folder' if stat.S_ISDIR(found.st_mode) else found.st_size)
        fsync(descriptor)

    monkeypatch.setattr(os, 'fsync', noting)
    return seen


def test_a_file_and_its_entry_are_flushed_in_this_order(tmp_path, flushed):
    write_text(tmp_path / 'file', 'four')
    assert flushed == [4, 'folder']
    assert (tmp_path / 'file').read_text() == 'four'
