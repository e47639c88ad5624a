"""The documentation site: pages from outside of `docs/`, and the parameters of pydantic classes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from griffe import Class, Decorator, DocstringSectionKind, ExprCall, ExprKeyword, ExprName, Extension
from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PATTERNS = (
    "CONTRIBUTING.md",
    "results/published/*.md",
    "results/reference/*.md",
    "results/reference/*/*.md",
    "results/reference/figures/*.svg",
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the README as the home page, and pages outside of `docs/` under their paths in the repository."""
    outside = {
        path.relative_to(ROOT).as_posix(): path for glob in PATTERNS for path in sorted(ROOT.glob(glob))
    }
    for name, path in {"index.md": ROOT / "README.md", **outside}.items():
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links of the site, whose root is `docs/`."""
    source = Path(str(page.file.abs_src_path))
    if source.parent == DOCS:
        return markdown.replace("](../README.md", "](index.md").replace("](../", "](")
    if source.is_relative_to(DOCS):
        return markdown
    return markdown.replace("](../docs/", "](../").replace("](docs/", "](")


class PydanticClasses(Extension):
    """Treat pydantic's dataclasses and models as standard dataclasses: Griffe then finds their parameters."""

    def on_class_members(self, *, cls: Class, **kwargs: Any) -> None:
        """Mark a class that documents arguments and has no `__init__`."""
        if "__init__" in cls.members or not cls.docstring:
            return
        sections = cls.docstring.parse("google", warnings=False)
        if any(section.kind is DocstringSectionKind.parameters for section in sections):
            call = ExprCall(ExprName("dataclasses.dataclass"), [ExprKeyword("kw_only", "True")])
            cls.decorators.append(Decorator(call, lineno=cls.lineno, endlineno=cls.lineno))
