"""mkdocs hook: turn links that leave docs/ into links to the repository.

Pages in docs/ link to ../README.md or ../tests/..., which the site does not contain. These links become links to the
repository's site, or plain text if `repo_url` is not set in mkdocs.yml.
"""

from __future__ import annotations

import logging
import re

# a docstring may contain table[layer][language], which looks like a cross-reference of Markdown
logging.getLogger("mkdocs.plugins.mkdocs_autorefs").setLevel(logging.ERROR)

OUTSIDE = re.compile(r"\[([^\]]*)\]\((?:\.\./)+([^)\s]*)\)")


def on_page_markdown(markdown: str, *, config: dict, **_: object) -> str:
    """Rewrite the links of one page (called by mkdocs)."""
    repository = (config["repo_url"] or "").rstrip("/")
    link = rf"[\1]({repository}/blob/main/\2)" if repository else r"\1"
    return OUTSIDE.sub(link, markdown)
