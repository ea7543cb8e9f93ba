"""What a translation gives."""

from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config


@dataclass
class Conversion:
    """A translated config.

    Attributes:
        cfg (Config): It builds and trains with btkd_det alone.
        notes (list[str]): What reads differently and is worth knowing.
        missing (list[str]): What was not translated, each with the reason.
    """

    cfg: Config
    notes: list = field(default_factory=list)
    missing: list = field(default_factory=list)

    def text(self) -> Any:
        """The config as a file, with the notes and what is missing as comments on top."""
        lines = ['# Translated from MMRazor by btkd_det.']
        lines += [f'# Not translated: {line}' for line in self.missing]
        lines += [f'# {line}' for line in self.notes]
        return '\n'.join(lines) + '\n\n' + self.cfg.pretty_text
