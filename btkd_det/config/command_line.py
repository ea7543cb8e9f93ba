"""Command line options that several commands share."""

import os
import sys
from argparse import ArgumentParser
from typing import Any


def add_config_options(parser: ArgumentParser) -> None:
    """Add ``--cfg-options``.

    Args:
        parser (argparse.ArgumentParser): Of the command.
    """
    from mmengine.config import DictAction

    class Options(DictAction):
        """As MMEngine's; text that is no ``KEY=VALUE`` ends the command with one line."""

        def __call__(
            self,
            parser: ArgumentParser,
            namespace: Any,
            values: Any,
            option_string: str | None = None,
        ) -> None:
            for text in values:
                try:
                    super().__call__(parser, namespace, [text], option_string)
                except (ValueError, AssertionError) as error:
                    sys.exit(f'error: --cfg-options: {text!r}: {_reason(text, error)}')

    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Options,
        metavar='KEY=VALUE',
        help='change values of the config; data_root=FOLDER moves every path of the data set',
    )


def _reason(text: str, error: Exception) -> str:
    return str(error).split('\n')[0] if '=' in text else 'has no "="; valid: KEY=VALUE'


def add_teacher_options(parser: ArgumentParser) -> None:
    """Add ``--teacher-config`` and ``--teacher-checkpoint``.

    Args:
        parser (argparse.ArgumentParser | argparse._ArgumentGroup): Of the command.
    """
    parser.add_argument('--teacher-config', metavar='T', help="the teacher's config")
    parser.add_argument(
        '--teacher-checkpoint', metavar='C', help="the teacher's weights, or 'pretrained'"
    )


def add_walk_options(parser: ArgumentParser) -> None:
    """Add a teacher, and how it walks through its data: ``--max-iters``, ``--device``, ``--seed``.

    Args:
        parser (argparse.ArgumentParser): Of the command.
    """
    import torch

    parser.add_argument('config', help="the teacher's config: a file or 'mmdet::...'")
    parser.add_argument('checkpoint', help='a file or an http(s) address')
    parser.add_argument('--max-iters', type=int, help='batches to look at (default: all)')
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    parser.add_argument('--device', default=device, help='default: %(default)s')
    parser.add_argument('--seed', type=int, default=0, help='of order, augmentation and sampling')


def add_launcher_options(parser: ArgumentParser) -> None:
    """Add ``--launcher`` and ``--local_rank``.

    Args:
        parser (argparse.ArgumentParser): Of the command.
    """
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def set_local_rank(args: Any) -> None:
    """Tell MMEngine the rank that a launcher passes as an option.

    Args:
        args (argparse.Namespace): With ``local_rank``.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
