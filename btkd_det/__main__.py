"""``python -m btkd_det COMMAND ...``: the tools, where there is no checkout to run them from."""

import ast
import runpy
import sys

from .compat.probe import NEEDS
from .config.tools import FOLDER
from .interrupts import stopped_in_one_line


@stopped_in_one_line()
def main() -> None:
    """Run the tool that the command line names, as if it were called by its file."""
    names = sorted(path.stem for path in FOLDER.glob('*.py'))
    name = sys.argv[1] if len(sys.argv) > 1 else '--help'
    if name in names:
        del sys.argv[1]
        try:
            runpy.run_path(str(FOLDER / f'{name}.py'), run_name='__main__')
        except ModuleNotFoundError as error:
            if (error.name or '').partition('.')[0] not in NEEDS:
                raise
            sys.exit(f'error: {error}, which {name} needs; see python -m btkd_det.doctor')
    elif name in ('-h', '--help'):
        width = max(map(len, names))
        lines = [f'  {other:{width}}  {_purpose(other)}' for other in names]
        print('\n'.join(['python -m btkd_det COMMAND [--help]', '', *lines]))
    else:
        sys.exit(f'error: no command {name}; valid: {", ".join(names)}')


def _purpose(name: str) -> str:
    """The first line of a tool's docstring."""
    tree = ast.parse((FOLDER / f'{name}.py').read_text(encoding='utf-8'))
    return (ast.get_docstring(tree) or '').partition('\n')[0]


if __name__ == '__main__':
    main()
