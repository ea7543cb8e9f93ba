"""MMRazor's distillation configs and checkpoints as ours.

Reads a ``SingleTeacherDistill`` or ``FpnTeacherDistill`` with a ``ConfigurableDistiller`` or our
own ``BTKDDistiller`` and writes the distilled model that learns the same. Nothing is dropped in
silence: what has no counterpart is named, and so is what reads differently. MMRazor need not be
installed.
"""

from .checkpoint import convert_checkpoint, read_student, save_student
from .conversion import Conversion
from .converter import convert_config

__all__ = ['Conversion', 'convert_checkpoint', 'convert_config', 'read_student', 'save_student']
