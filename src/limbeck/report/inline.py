"""A figure as part of an HTML page: the page's colours, ids of its own, and words that stand for it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from defusedxml.ElementTree import fromstring

from limbeck.report.drawing import GREY, PALETTE

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
GRID, TICKS = "#e3e3e3", "#222222"

# The page's style sheet says what each is in light and dark; colours of the palette by their place.
COLOURS = {
    **{colour.lower(): f"var(--c{place})" for place, colour in enumerate(PALETTE[:6], 1)},
    "#000000": "var(--ink)",
    TICKS: "var(--ink)",
    GREY: "var(--muted)",
    GRID: "var(--grid)",
    "#ffffff": "var(--paper)",
}


def inline(svg: str, name: str, title: str, description: str, kind: str) -> str:
    """An SVG of `figures` as an element of a page.

    Args:
        name: opens every id in it; another for every figure of the page.
        title, description: its text alternative; the description says what it shows in words and numbers.
        kind: its class, `wide` or `narrow`.
    """
    root = fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{SVG}}}")
        for key, value in list(element.attrib.items()):
            if key == f"{{{XLINK}}}href":
                del element.attrib[key]
                element.set("href", re.sub("^#", f"#{name}-", value))
            elif key == "id":
                element.set(key, f"{name}-{value}")
            else:
                element.set(key, _coloured(value.replace("url(#", f"url(#{name}-")))
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    shown = {"title": title, "desc": description}
    for place, (tag, text) in enumerate(shown.items()):
        element = ET.Element(tag, {"id": f"{name}-{tag}"})
        element.text = text
        root.insert(place, element)
    width = float(root.attrib["viewBox"].split()[2]) / 0.75  # points; a pixel is 0.75 of one
    root.attrib |= {
        "role": "img",
        "aria-labelledby": f"{name}-title",
        "aria-describedby": f"{name}-desc",
        "class": kind,
        "style": f"max-width: {width:.0f}px",
    }
    return ET.tostring(root, encoding="unicode", short_empty_elements=False)


def _coloured(value: str) -> str:
    return re.sub("#[0-9a-f]{6}", lambda found: COLOURS.get(found[0], found[0]), value)
