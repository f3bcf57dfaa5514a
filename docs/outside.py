#!/usr/bin/env python3
"""A preprocessor of mdBook: brings the pages that lie outside of docs/src into the book.

Pages link to each other as files of the repository, so that they can be read there. In the book the pages of the examples
and the benchmarks are chapters, and a link to a file that is no page becomes the file's name. What leads nowhere fails the
build.
"""

import json
import posixpath
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = "docs/src"
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")


def pages_outside():
    """Pages of the repository that are chapters too: where each lies, and what it is called in the book. The examples come in
    the order of the page about them."""
    order = (ROOT / SOURCE / "examples.md").read_text()
    names = [page.parent.name for page in ROOT.glob("examples/*/README.md")]
    names.sort(key=lambda name: (order.find(f"examples/{name}/README.md"), name))
    pages = {"docs/benchmarks.md": "benchmarks.md", "tests/languages/README.md": "languages.md"}
    return pages | {f"examples/{name}/README.md": f"examples/{name}.md" for name in names}


def chapter(place, path, parents):
    content = (ROOT / place).read_text()
    title = re.search(r"^# (.+)$", content, re.M).group(1)
    return {"name": title, "content": content, "number": None, "sub_items": [], "path": path, "source_path": None,
            "parent_names": parents}


def relink(chapter, place, pages):
    """Has a chapter's links, which are right where the page lies, lead to other chapters."""
    folder = posixpath.dirname(place)

    def link(match):
        text, target = match.groups()
        if "://" in target or target.startswith(("mailto:", "#")):
            return match.group(0)
        file, _, heading = target.partition("#")
        there = posixpath.normpath(posixpath.join(folder, file))
        if not (ROOT / there).exists():
            sys.exit(f"{place}: nothing is at {target}")
        inside = pages.get(there)
        if inside is None:
            return f"{text} (`{there}`)"
        way = posixpath.relpath(inside, posixpath.dirname(chapter["path"]) or ".")
        return f"[{text}]({way}{'#' + heading if heading else ''})"

    parts = chapter["content"].split("```")
    chapter["content"] = "```".join(part if at % 2 else LINK.sub(link, part) for at, part in enumerate(parts))


def chapters(items):
    for item in items:
        if isinstance(item, dict) and "Chapter" in item:
            yield item["Chapter"]
            yield from chapters(item["Chapter"]["sub_items"])


def main():
    if sys.argv[1:2] == ["supports"]:
        return
    _, book = json.load(sys.stdin)
    outside = pages_outside()
    inside = list(chapters(book["items"]))
    places = {f"{SOURCE}/{one['path']}": one["path"] for one in inside} | outside
    homes = {"examples/": "examples.md", "benchmarks.md": "operating.md", "languages.md": "writing-filters.md"}
    for one in inside:
        relink(one, f"{SOURCE}/{one['path']}", places)
    for place, path in outside.items():
        home = next(page for start, page in homes.items() if path.startswith(start))
        parent = next(one for one in inside if one["path"] == home)
        added = chapter(place, path, parent["parent_names"] + [parent["name"]])
        added["number"] = (parent["number"] or []) + [len(parent["sub_items"]) + 1]
        relink(added, place, places)
        parent["sub_items"].append({"Chapter": added})
    json.dump(book, sys.stdout)


main()
