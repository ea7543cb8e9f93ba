"""Hooks for MMEngine's runner."""

from .atomic_checkpoint import AtomicCheckpointHook
from .exact_resume import ExactResumeHook
from .finite_losses import FiniteLossesHook
from .missed_validation import MissedValidationHook
from .plain_config import PlainConfigHook
from .right_rate import RightRateHook
from .run_facts import RunFactsHook
from .save_on_interrupt import SaveOnInterruptHook
from .teacher_evaluation import TeacherEvaluationHook

__all__ = [
    'AtomicCheckpointHook',
    'ExactResumeHook',
    'FiniteLossesHook',
    'MissedValidationHook',
    'PlainConfigHook',
    'RightRateHook',
    'RunFactsHook',
    'SaveOnInterruptHook',
    'TeacherEvaluationHook',
]
