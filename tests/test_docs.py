"""The hook of the documentation site, of which `make docs` checks the links; and commands of the first page."""

import importlib.util
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
from composed import experiment_of

from mefusion.configuration.building import check_settings

ROOT = Path(__file__).parent.parent
TRAININGS = re.findall(r"(?m)(?:^|`)mefusion-train +([^`\n]+)", (ROOT / "README.md").read_text(encoding="utf-8"))


@pytest.fixture
def on_page():
    """The hook, on a page's name and text."""
    pytest.importorskip("mkdocs")
    spec = importlib.util.spec_from_file_location("repository", ROOT / "docs" / "repository.py")
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)

    def on_page(name, text, url=""):
        page = SimpleNamespace(file=SimpleNamespace(src_uri=name))
        return hook.on_page_markdown(text, page, SimpleNamespace(repo_url=url))

    return on_page


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("index.md", "[runs](../experiments/README.md#a)", "[runs](experiments.md#a)"),
        ("index.md", "![clips](contact_sheet.png)", "![clips](contact_sheet.png)"),
        ("contributing.md", "[data](docs/datasets.md#x) [c](CHANGELOG.md)", "[data](datasets.md#x) [c](changelog.md)"),
        ("experiments.md", "[(a)](#a) [meb](https://a.b/c)", "[(a)](#a) [meb](https://a.b/c)"),
        ("experiments.md", "[`search/`](search)", "[`search/`](https://git.example/me/blob/HEAD/experiments/search)"),
        ("models.md", "```\n[a](b)\n```\n", "```\n[a](b)\n```\n"),
        ("installation.md", "pip install git+URL", "pip install git+https://git.example/me"),
    ],
)
def test_links_become_those_of_the_site(on_page, name, text, expected):
    assert on_page(name, text, "https://git.example/me") == expected


def test_without_an_address_files_of_the_repository_are_no_links(on_page):
    assert on_page("experiments.md", "[`search/`](search), git+URL") == "`search/`, git+URL"


@pytest.mark.parametrize("command", [command for command in TRAININGS if not command.startswith("-m ")])
def test_a_training_of_the_readme_has_settings_that_are_allowed(command, tmp_path):
    pytest.importorskip("wandb")
    overrides = [word.replace("DIR", str(tmp_path)) for word in shlex.split(command) if not word.startswith("--")]
    check_settings(experiment_of(*overrides).settings)
