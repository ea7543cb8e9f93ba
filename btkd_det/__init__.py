"""Distillation for MMDetection and MMEngine that faces a teacher that is sometimes wrong."""

__version__ = '0.1.0'
