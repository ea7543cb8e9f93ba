"""What surrounds a training: its folder, its launcher, the modules that the config imports."""

import os
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.utils import import_modules_from_strings

from ..errors import ConfigError

# What each launcher sets for the processes that it starts.
ENVIRONMENT = {
    'pytorch': ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST'),
    'mpi': ('OMPI_COMM_WORLD_LOCAL_RANK', 'OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE'),
}
STARTED_BY = {'pytorch': 'torchrun', 'slurm': 'srun', 'mpi': 'mpirun'}
TEXT = ('MASTER_ADDR', 'SLURM_NODELIST')


def check_work_dir(path: str | Path) -> None:
    """Check that a folder is there and can be written, or can be made.

    Raises:
        ConfigError: It is a file, lies below one, or is not ours to write.
    """
    folder = Path(os.path.abspath(path))
    valid = 'valid: a folder that can be made or written'
    try:
        while not os.path.lexists(folder):
            folder = folder.parent
        if not folder.is_dir():
            raise ConfigError(f'work_dir: {path}: {folder} is no folder; {valid}')
        longest = os.pathconf(folder, 'PC_NAME_MAX')
    except OSError as error:
        raise ConfigError(f'work_dir: {path}: {error.strerror or error}; {valid}') from error
    if any(len(os.fsencode(part)) > longest for part in Path(path).parts):
        raise ConfigError(f'work_dir: {path}: a name of more than {longest} bytes; {valid}')
    if not os.access(folder, os.W_OK | os.X_OK) or not _can_hold_files(folder):
        raise ConfigError(f'work_dir: {path}: {folder} cannot be written; {valid}')


def _can_hold_files(folder: str | Path) -> bool:
    """Whether files can be made there: /proc says so of its rights, and has no place for any."""
    return folder != Path('/proc') and Path('/proc') not in folder.parents


def check_launcher(launcher: str) -> None:
    """Check that a launcher's environment is there.

    Args:
        launcher (str): ``'none'`` or a key of :data:`ENVIRONMENT`.

    Raises:
        ConfigError: A variable is missing or no number.
    """
    for name in ENVIRONMENT.get(launcher, ()):
        value = os.environ.get(name)
        if value is None or (name not in TEXT and not value.isdigit()):
            state = 'is not set' if value is None else f'is {value!r}'
            raise ConfigError(
                f'--launcher {launcher}: the environment variable {name} {state}; valid: a command '
                f'started by {STARTED_BY[launcher]}, or --launcher none for one process'
            )


def check_imports(cfg: Config) -> None:
    """Import the modules of ``custom_imports``, those that options named among them.

    Raises:
        ConfigError: One does not import, and the config does not say that it may fail.
    """
    wanted = cfg.get('custom_imports')
    if not wanted:
        return
    names = wanted.get('imports') if isinstance(wanted, dict) else None
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, (list, tuple)) or not all(isinstance(n, str) for n in names):
        raise ConfigError(f"custom_imports: {wanted!r}; valid: dict(imports=['module', ...])")
    for name in names or ():
        try:
            import_modules_from_strings(name)
        except Exception as error:  # a module is code: anything can go wrong in it
            if wanted.get('allow_failed_imports'):
                print_log(
                    f'custom_imports: {name} does not import, as the config allows: {error}',
                    'current',
                    level=30,
                )
                continue
            raise ConfigError(
                f'custom_imports: {name} does not import: {type(error).__name__}: {error}; valid: '
                f'modules that Python finds (looked from {os.getcwd()})'
            ) from error
