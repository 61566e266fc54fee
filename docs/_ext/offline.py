"""Built pages load nothing from other sites: what the theme would load is taken out, and anything else is a warning."""

import re
from pathlib import Path

from sphinx.util import logging

logger = logging.getLogger(__name__)

#: In style sheets. The theme imports a font; without it the pages have the reader's own.
IMPORT = re.compile(r"@import\s+url\([\"']?https?:[^)]*\);?")
LOADED_BY_STYLE = re.compile(r"url\([\"']?(https?:[^\"')]+)")
#: In pages: the tag, and the address that it would load.
TAG = re.compile(r"<(?:script|img|iframe|source|link)\b[^>]*>", re.IGNORECASE)
LOADED_BY_TAG = re.compile(r"\b(?:src|href)=[\"']?((?:https?:)?//[^\"' >]+)", re.IGNORECASE)
#: Links of the head that are told, not loaded.
TOLD = re.compile(r"rel=[\"']?(?:canonical|next|prev|search|index)\b", re.IGNORECASE)


def finish(app, exception):
    if exception or app.builder.format != "html":
        return
    for sheet in Path(app.outdir).rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        if IMPORT.search(text):
            text = IMPORT.sub("", text)
            sheet.write_text(text, encoding="utf-8")
        complain(app, sheet, LOADED_BY_STYLE.findall(text))
    for page in Path(app.outdir).rglob("*.html"):
        tags = [tag for tag in TAG.findall(page.read_text(encoding="utf-8")) if not TOLD.search(tag)]
        complain(app, page, [address for tag in tags for address in LOADED_BY_TAG.findall(tag)])


def complain(app, path, addresses):
    for address in addresses:
        logger.warning("%s would load %s", path.relative_to(app.outdir), address)


def setup(app):
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
