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
        found = self._found()
        mode = 'w+' if found is None else 'r+'
        self._values.parent.mkdir(parents=True, exist_ok=True)
        options = {} if found is not None else dict(dtype=np.float16, shape=tuple(shape))
        self.logits = torch.from_numpy(np.lib.format.open_memmap(self._values, mode, **options))
        self.done = found or 0

    def _found(self) -> Any:
        """How many rows an earlier run of the same header left, or None."""
        try:
            state = json.loads(self._state.read_text())
        except (OSError, ValueError):
            return None
        same = isinstance(state, dict) and state.get('key') == self._key
        return state['done'] if same and self._values.is_file() else None

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
