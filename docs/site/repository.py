"""Puts the repository's other pages, and the files that pages link to, into the documentation site.

A page links as it does on disk, such as ``../configs/bccd``; here that becomes a link within the
site: to the page of the folder's ``README.md``, or to the file itself.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
# Where everything outside of docs/ lies in the site.
PREFIX = 'repository/'
PAGES = ('README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'experiments/README.md')
LINK = re.compile(r'(?<=\]\()(?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?(?=\))')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside of ``docs/``, and each file that any page links to."""
    outside = [*PAGES, *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob('configs/*/README.md'))]
    pages = [file.src_uri for file in files.documentation_pages()]
    for path in outside:
        files.append(File.generated(config, PREFIX + path, abs_src_path=str(ROOT / path)))
    for uri in [*pages, *(PREFIX + path for path in outside)]:
        page = path_of(uri)
        for match in LINK.finditer((ROOT / page).read_text(encoding='utf-8')):
            target = uri_of(target_of(match[1], page))
            if target.startswith(PREFIX) and files.get_file_from_path(target) is None:
                source = str(ROOT / path_of(target))
                files.append(File.generated(config, target, abs_src_path=source))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn a page's links into links within the site."""
    here = page.file.src_uri

    def rewrite(match: re.Match) -> str:
        target = uri_of(target_of(match[1], path_of(here)))
        return posixpath.relpath(target, posixpath.dirname(here) or '.') + (match[2] or '')

    return LINK.sub(rewrite, markdown)


def path_of(uri: str) -> str:
    """A file's path in the repository, by its address in the site."""
    return uri.removeprefix(PREFIX) if uri.startswith(PREFIX) else f'docs/{uri}'


def uri_of(path: str) -> str:
    """A file's address in the site, by its path in the repository."""
    return path.removeprefix('docs/') if path.startswith('docs/') else PREFIX + path


def target_of(link: str, page: str) -> str:
    """The path in the repository of what a page links to: of a folder, its ``README.md``."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
    return f'{path}/README.md' if (ROOT / path).is_dir() else path
