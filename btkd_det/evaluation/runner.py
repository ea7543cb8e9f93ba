"""MMEngine's runner for a test, in whatever work dir."""

from pathlib import Path
from typing import Any

from mmengine.dist import master_only
from mmengine.runner import Runner


class TestRunner(Runner):
    """Writes into a folder of its own within the work dir, and nothing beside it.

    MMEngine's runner puts its config into the work dir itself. Where that is a training's, the
    test's, which has neither teacher nor losses, would take the place of the training's.
    """

    # Not a test of pytest's.
    __test__ = False

    @master_only
    def dump_config(self) -> None:
        """Write the config beside the log."""
        name = Path(self.cfg.filename or f'{self.timestamp}.py').name
        self.cfg.dump(Path(self.log_dir, name))

    def load_checkpoint(self, *args: Any, **kwargs: Any) -> Any:
        """As MMEngine's, of a model of ``torch.compile``, too, whose weights it would leave out."""
        prefixes = [(r'(^|(?<=\.))_orig_mod\.', ''), (r'^module\.', '')]
        kwargs.setdefault('revise_keys', prefixes)
        return super().load_checkpoint(*args, **kwargs)
