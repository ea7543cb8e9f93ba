"""Checkpoints that a kill or a full disk cannot take away."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.dist import barrier, is_main_process
from mmengine.fileio import FileClient, LocalBackend, get_file_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from ..checkpoint.resuming import MARKER, marked_name
from ..checkpoint.writing import atomic_path, write_text
from ..checks import check_choice
from ..errors import SavingError
from ..registry import HOOKS

#: What a run that is killed before it has removed them leaves behind, in its checkpoint's hub.
OUTDATED, OUTDATED_BEST = 'outdated_ckpt_ids', 'outdated_best_ckpts'
#: What the hub says of the best checkpoints.
BEST = ('best_score', 'best_ckpt', OUTDATED_BEST)


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """MMEngine's ``CheckpointHook``, at every moment of which a whole checkpoint lies on the disk.

    A checkpoint and the marker ``last_checkpoint`` are written beside their places, flushed to
    the disk and moved there, and an outdated checkpoint is removed after the new one is whole;
    the best one likewise. MMEngine removes first, then writes in place: a run that is killed while
    it saves has lost what it had with ``max_keep_ckpts=1``. ``tools/train.py`` puts this hook in
    the place of MMEngine's. Where checkpoints go to another storage than a local folder, the
    storage decides what a half-written file is.

    Args:
        on_error (str): What happens where a checkpoint cannot be written, as with a full disk:
            ``'stop'`` ends the training with one line, ``'continue'`` warns and trains on; the
            last whole checkpoint is kept in both cases. Defaults to ``'stop'``.
        **kwargs: As MMEngine's hook has them.

    Raises:
        ConfigError: ``on_error`` is something else.

    Examples:
        >>> from btkd_det.registry import HOOKS
        >>> checkpoint = dict(type='btkd_det.AtomicCheckpointHook', max_keep_ckpts=1)
        >>> hook = HOOKS.build(dict(checkpoint, on_error='continue'))
    """

    def __init__(self, *args: Any, on_error: str = 'stop', **kwargs: Any) -> None:
        check_choice('default_hooks.checkpoint.on_error', on_error, ('stop', 'continue'))
        super().__init__(*args, **kwargs)
        self.on_error = on_error

    def before_train(self, runner: Any) -> None:
        """Finish what a run that was killed while saving has left to do."""
        super().before_train(runner)
        info = runner.message_hub.runtime_info
        if runner._resume and info.get('last_ckpt'):
            # MMEngine's is None here, and a better one is not noted in the checkpoint then.
            self.last_ckpt = self._here(info['last_ckpt'])
        if runner._resume:
            self._find_best(runner, info)
        if is_main_process() and isinstance(self.file_backend, LocalBackend):
            self._remove_left_over(info if runner._resume else {})

    def _here(self, path: Any) -> str:
        """A checkpoint of a run that may have been in another folder, in this one's."""
        return self.file_backend.join_path(self.out_dir, Path(str(path)).name)

    def _find_best(self, runner: Runner, info: Any) -> None:
        """The best checkpoints are this folder's: in a copy, the original's are not touched."""
        for key in [key for key in info if key.startswith('best_ckpt') and info[key]]:
            runner.message_hub.update_info(key, self._here(info[key]))
        self._take_best(info)

    def _take_best(self, info: Any) -> None:
        """Believe what the hub says of the best checkpoints; a config may save none, or several."""
        if hasattr(self, 'best_ckpt_path'):
            self.best_ckpt_path = info.get('best_ckpt')
        for key in getattr(self, 'best_ckpt_path_dict', ()):
            self.best_ckpt_path_dict[key] = info.get(f'best_ckpt_{key}')

    def _remove_left_over(self, info: Any) -> None:
        """Remove half-written files, and what the checkpoint says is outdated."""
        folder = Path(self.out_dir)
        kept = {Path(str(path)).name for key, path in info.items() if key.startswith('best_ckpt')}
        outdated = {self.filename_tmpl.format(step) for step in info.get(OUTDATED, ())}
        outdated.update(info.get(OUTDATED_BEST, ()))
        for name in outdated - kept:
            _remove(self.file_backend, folder / name)
        for path in [*folder.glob('.*.pth.part'), *folder.glob(f'.{MARKER}.*.part')]:
            _remove(self.file_backend, path)

    def _save_checkpoint_with_step(self, runner: Runner, step: Any, meta: Any) -> None:
        kept = list(self.keep_ckpt_ids) if self.max_keep_ckpts > 0 else []
        outdated = []
        if self.max_keep_ckpts > 0 and step not in kept:
            outdated = kept[: max(len(kept) + 1 - self.max_keep_ckpts, 0)]
            self._keep(runner, [*kept[len(outdated) :], step])
            runner.message_hub.update_info(OUTDATED, outdated)
        before, name = self.last_ckpt, self.filename_tmpl.format(step)
        self._note(runner, self.file_backend.join_path(self.out_dir, name))
        runner.call_hook('before_step_checkpoint', iterations=meta['iter'])
        with self._errors_handled(runner, name) as failed:
            save_whole(
                runner,
                self.out_dir,
                name,
                file_client_args=self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
            if is_main_process():
                write_text(Path(runner.work_dir, MARKER), str(self.last_ckpt))
        if failed:
            self._note(runner, before)
            if self.max_keep_ckpts > 0:
                self._keep(runner, kept)
        elif is_main_process():
            for old in outdated:
                path = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(old))
                _remove(self.file_backend, path)
        runner.call_hook('after_step_checkpoint', iterations=meta['iter'])

    def _save_best_checkpoint(self, runner: Runner, metrics: Any) -> None:
        """As MMEngine's, which removes the best one so far before it writes the better one."""
        backend, later = self.file_backend, _RemovesLater(self.file_backend, runner.message_hub)
        saver, info = _AtomicRunner(runner), runner.message_hub.runtime_info
        before = {key: info[key] for key in info if key.startswith(BEST)}
        self.file_backend = later
        try:
            with self._errors_handled(runner, 'the best one') as failed:
                super()._save_best_checkpoint(saver, metrics)
        finally:
            self.file_backend = backend
        if not failed:
            for path in later.outdated:
                if Path(path) not in saver.written:
                    _remove(backend, path)
        else:
            # The best one is still the one before.
            for key in [key for key in info if key.startswith(BEST)]:
                info.pop(key)
            info.update(before)
            self._take_best(info)

    def _keep(self, runner: Runner, steps: Any) -> None:
        self.keep_ckpt_ids.clear()
        self.keep_ckpt_ids.extend(steps)
        runner.message_hub.update_info('keep_ckpt_ids', list(steps))

    def _note(self, runner: Runner, path: str | Path) -> None:
        self.last_ckpt = path
        runner.message_hub.update_info('last_ckpt', path)

    @contextlib.contextmanager
    def _errors_handled(self, runner: Runner, name: str) -> Iterator[Any]:
        """Turn an error of the disk into one line, or a warning; yields a list of such errors."""
        failed = []
        try:
            yield failed
        except OSError as error:
            failed.append(error)
            last = marked_name(runner.work_dir)
            kept = f'{last} is whole and is kept' if last else 'there is none yet'
            reason = f'checkpoint {name} cannot be written to {self.out_dir}: {error.strerror}'
            if self.on_error == 'stop':
                raise SavingError(
                    f'{reason}; of the earlier ones {kept}. Make room, then go on with --resume; '
                    "default_hooks.checkpoint.on_error='continue' trains on without saving"
                ) from error
            runner.logger.warning(f'{reason}; of the earlier ones {kept}. The training goes on.')


def save_whole(runner: Runner, out_dir: str, name: str, **options: Any) -> None:
    """Save a checkpoint beside its place and move it there; every rank has to call it.

    Args:
        runner (Runner): Whose checkpoint it is.
        out_dir (str): The folder.
        name (str): Of the file.
        **options: Of MMEngine's ``Runner.save_checkpoint``.

    Raises:
        OSError: It cannot be written; what was there before is as it was.
    """
    _AtomicRunner(runner).save_checkpoint(out_dir, name, **options)


class _AtomicRunner:
    """A runner whose checkpoints are written beside their places and moved there."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner._runner if isinstance(runner, _AtomicRunner) else runner
        self.written = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)

    def save_checkpoint(self, out_dir: Any, filename: str, *args: Any, **kwargs: Any) -> Any:
        """As the runner's."""
        if not isinstance(_backend(out_dir, kwargs), LocalBackend):
            return self._runner.save_checkpoint(out_dir, filename, *args, **kwargs)
        path = Path(str(out_dir).removeprefix('file://'), filename)
        self.written.append(path)
        # Where the model is spread over the ranks, all of them write; the main one names the file.
        spread = not isinstance(self._runner, Runner)
        if not is_main_process():
            if spread:
                self._runner.save_checkpoint(out_dir, _part(path).name, *args, **kwargs)
                barrier()
            return None
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path, _part(path)) as part:
            try:
                self._runner.save_checkpoint(out_dir, part.name, *args, **kwargs)
            finally:
                if spread:
                    barrier()
        return None


class _RemovesLater:
    """A file backend that notes what to remove, in the checkpoint too, and removes nothing."""

    def __init__(self, backend: Any, message_hub: Any) -> None:
        self._backend, self._message_hub = backend, message_hub
        self.outdated = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str | Path) -> None:
        """Note a file."""
        self.outdated.append(path)
        names = [Path(each).name for each in self.outdated]
        self._message_hub.update_info(OUTDATED_BEST, names)

    def rmtree(self, path: str | Path) -> None:
        """Note a folder."""
        self.remove(path)


def _part(path: str | Path) -> Any:
    """The same name on all ranks."""
    return path.with_name(f'.{path.name}.part')


def _backend(out_dir: Any, options: Any) -> Any:
    if options.get('file_client_args'):
        return FileClient.infer_client(options['file_client_args'], out_dir)
    return get_file_backend(out_dir, backend_args=options.get('backend_args'))


def _remove(backend: Any, path: str | Path) -> None:
    """Remove a checkpoint; DeepSpeed's are folders."""
    if backend.isfile(path):
        backend.remove(path)
    elif backend.isdir(path):
        backend.rmtree(path)
