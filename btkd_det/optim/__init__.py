"""Optimizer wrappers for MMEngine's runner."""

from .bfloat16 import BFloat16OptimWrapper

__all__ = ['BFloat16OptimWrapper']
