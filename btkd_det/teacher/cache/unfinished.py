"""Logits on their way into a cache, so that an interrupted run goes on where it stopped."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...provenance import digest


class UnfinishedCache:
    """Logits in a file beside the cache to come, written as they are gathered.

    The operating system writes the file, so that what was gathered outlives the process whatever
    ends it.

    Args:
        path (str | Path): Of the cache to come.
        shape (tuple[int, int, int]): (K, N, C): views, images, classes.
        header (dict): Of the cache: what was gathered under another one is thrown away.

    Attributes:
        logits (Tensor): (K, N, C) float16, which is the file.
        done (int): Rows that are there, counted view by view, image by image.
    """

    def __init__(
        self, path: str | Path, shape: tuple[int, int, int], header: dict[str, Any]
    ) -> None:
        self._values, self._state = Path(f'{path}.unfinished.npy'), Path(f'{path}.unfinished.json')
        self._key = digest([list(shape), header])
        self._values.parent.mkdir(parents=True, exist_ok=True)
        found = self._found(shape)
        if found is None:
            # Before the values: a state that outlives them would count another run's as done.
            self._state.unlink(missing_ok=True)
            values = np.lib.format.open_memmap(self._values, 'w+', np.float16, tuple(shape))
            found = values, 0
        self.logits, self.done = torch.from_numpy(found[0]), found[1]

    def _found(self, shape: tuple[int, int, int]) -> tuple[np.ndarray, int] | None:
        """What an earlier run of the same header left, and how many rows of it, or None."""
        try:
            state = json.loads(self._state.read_text())
            if state['key'] != self._key:
                return None
            values, done = np.lib.format.open_memmap(self._values, 'r+'), state['done']
        except (OSError, ValueError, TypeError, KeyError):
            return None
        same = values.shape == tuple(shape) and values.dtype == np.float16 and type(done) is int
        return (values, done) if same and 0 <= done <= shape[0] * shape[1] else None

    def mark(self, done: int) -> None:
        """Note that the first rows are there.

        Args:
            done (int): How many, counted view by view, image by image.
        """
        self.done = done
        new = self._state.with_suffix('.new')
        new.write_text(json.dumps(dict(key=self._key, done=done)))
        os.replace(new, self._state)

    def remove(self) -> None:
        """Delete the files: the cache is there."""
        for path in (self._state, self._values):
            path.unlink(missing_ok=True)
