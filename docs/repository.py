"""MkDocs hook: pages from outside docs/, and links to files of the repository.

The repository's address is `[project.urls] Repository` in pyproject.toml, or that of the GitHub workflow that builds
the site. If there is neither, a link to a file that is not a page is shown as its text.
"""

import os
import posixpath
import re
import tomllib
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
PAGES = {
    "experiments.md": "experiments/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
_CODE_OR_LINK = re.compile(
    r"(?P<code>^```.*?^```$)|(?P<image>!?)\[(?P<text>(?:`[^`]*`|[^\[\]`])*)\]"
    r"\((?!\w+:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)",
    re.MULTILINE | re.DOTALL,
)


def on_config(config: MkDocsConfig) -> None:
    """Called by MkDocs first: where the repository is."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"].get("urls", {})
    on_github = "GITHUB_REPOSITORY" in os.environ
    built_at = "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}".format_map(os.environ) if on_github else ""
    config.repo_url, config.repo_name = urls.get("Repository", built_at), "Repository"


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Called by MkDocs with the files of docs/: adds the pages from outside."""
    for name, source in PAGES.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / source)))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Called by MkDocs with the text of a page: makes its links those of the site."""
    name = page.file.src_uri
    folder = posixpath.dirname(PAGES.get(name, f"docs/{name}"))
    names = {source: page for page, source in PAGES.items()}

    def replace(found: re.Match[str]) -> str:
        if found["code"]:
            return found["code"]
        target = posixpath.normpath(posixpath.join(folder, found["path"]))
        if target.startswith("docs/") or target in names:
            place = names.get(target, target.removeprefix("docs/"))
        elif config.repo_url:
            place = f"{config.repo_url}/blob/HEAD/{target}"
        else:
            return found["text"]
        return f"{found['image']}[{found['text']}]({place}{found['anchor'] or ''})"

    text = _CODE_OR_LINK.sub(replace, markdown)
    return re.sub(r"(git\+|git clone )URL\b", rf"\1{config.repo_url or 'URL'}", text)
