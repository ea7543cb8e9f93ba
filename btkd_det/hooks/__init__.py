"""Hooks for MMEngine's runner."""

from .atomic_checkpoint import AtomicCheckpointHook
from .exact_resume import ExactResumeHook
from .finite_losses import FiniteLossesHook
from .missed_validation import MissedValidationHook
from .pictures import PicturesHook
from .plain_config import PlainConfigHook
from .progress_bar import ProgressBarHook
from .right_rate import RightRateHook
from .run_facts import RunFactsHook
from .save_on_interrupt import SaveOnInterruptHook
from .teacher_evaluation import TeacherEvaluationHook

__all__ = [
    'AtomicCheckpointHook',
    'ExactResumeHook',
    'FiniteLossesHook',
    'MissedValidationHook',
    'PicturesHook',
    'PlainConfigHook',
    'ProgressBarHook',
    'RightRateHook',
    'RunFactsHook',
    'SaveOnInterruptHook',
    'TeacherEvaluationHook',
]
