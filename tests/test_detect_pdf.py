"""PDFs: lines become paragraphs again, page by page; what cannot be read is told in one line."""

from __future__ import annotations

import logging
import sys
import tracemalloc
from pathlib import Path

import pytest

from limbeck.errors import UserError
from limbeck.tools.detect_pdf import pdf_blocks
from tests.tiny_detect import document

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from write_pdf import set_pages, write_pdf

pypdf = pytest.importorskip("pypdf")

FIRST = [
    "A Study of Towns",
    "The first paragraph of this page is set in lines of about one length, as books",
    "set them, and it has a hyphen at the end of a line where a word was par-",
    "ted. It ends (here).",
    "The second one goes on and on over the end of the line and over the end of the",
    "7",
]
SECOND = [
    "A Study of Towns",
    "page that it began on, which is no reason to take it for two paragraphs, is it",
    "now?",
    "- an item of a list",
    "8",
]


def test_lines_become_paragraphs(tmp_path: Path) -> None:
    blocks = list(pdf_blocks(write_pdf(tmp_path / "a.pdf", [FIRST, SECOND])))
    assert [(block.kind, block.page) for block in blocks] == [
        ("heading", 1), ("text", 1), ("text", 1), ("item", 2),
    ]  # fmt: skip
    assert blocks[1].text.endswith("where a word was parted. It ends (here).")
    assert blocks[2].text.startswith("The second one goes on")
    assert "end of the page that it began on" in blocks[2].text
    assert blocks[2].text.endswith("is it now?")


@pytest.mark.parametrize("above", [True, False])
def test_running_heads_and_feet_beside_page_numbers_go(tmp_path: Path, above: bool) -> None:
    paragraph = "a sentence that goes on and on over the end of the line and of the page and has no end"
    pages = []
    for number in range(1, 5):
        head, foot = ["Head of 2026", f"Page {number}"], [f"Foot, part {number}", "ivxl"[number - 1]]
        pages.append([*(head if above else head[::-1]), *[paragraph] * 6, *(foot if above else foot[::-1])])
    pages[-1].insert(-2, "It ends here.")
    blocks = list(pdf_blocks(write_pdf(tmp_path / "a.pdf", pages)))
    whole = " ".join(block.text for block in blocks)
    assert whole.count("Head of") == whole.count("Foot, part") == 1, "known from the second page on"
    assert "Page 2" not in whole
    assert blocks[-1].text.endswith(" ".join([paragraph] * 18 + ["It ends here."])), "over three pages"


def test_a_word_of_roman_letters_is_no_page_number(tmp_path: Path) -> None:
    pages = [
        ["ill", *FIRST[1:3], "ted. It was", "civil"],
        ["7", *SECOND[1:3], "livid", "xlviii"],
        ["MIX", "- 9 -"],
    ]
    text = " ".join(block.text for block in pdf_blocks(write_pdf(tmp_path / "a.pdf", pages)))
    for word in ("ill", "civil", "livid", "MIX"):
        assert f" {word} " in f" {text} "
    assert not {"7", "xlviii", "9"} & set(text.split())


def test_set_paragraphs_come_back(tmp_path: Path) -> None:
    paragraphs = [" ".join(document([False] * 3, 10 * number)) for number in range(40)]
    pages = set_pages(paragraphs)
    blocks = list(pdf_blocks(write_pdf(tmp_path / "a.pdf", pages)))
    assert len(pages) > 3
    assert " ".join(block.text for block in blocks) == " ".join(paragraphs)
    found = {block.text for block in blocks}
    assert sum(one in found for one in paragraphs) >= 30  # a last line that is full hides an end


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        list(pdf_blocks(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    good = write_pdf(tmp_path / "good.pdf", [FIRST, SECOND])
    scan = write_pdf(tmp_path / "scan.pdf", [[], [], ["  "]])
    assert refused(scan).endswith(
        "no text on its 3 pages, as a scan has not; run text recognition (OCR) on it first"
    )
    (tmp_path / "no.pdf").write_text("This is text.")
    assert "no.pdf is damaged or no PDF" in refused(tmp_path / "no.pdf")
    (tmp_path / "empty.pdf").write_bytes(b"")
    assert "empty.pdf is damaged or no PDF" in refused(tmp_path / "empty.pdf")
    (tmp_path / "cut.pdf").write_bytes(good.read_bytes()[:600])
    assert "cut.pdf is damaged or no PDF" in refused(tmp_path / "cut.pdf")
    broken = good.read_bytes().replace(b"/FlateDecode", b"/NoSuchThing")
    (tmp_path / "filter.pdf").write_bytes(broken)
    assert "filter.pdf is damaged or no PDF (page 1)" in refused(tmp_path / "filter.pdf")


@pytest.mark.parametrize("password", ["secret", ""])
def test_encrypted(tmp_path: Path, password: str) -> None:
    writer = pypdf.PdfWriter(clone_from=write_pdf(tmp_path / "good.pdf", [FIRST]))
    writer.encrypt(password, owner_password="owner", algorithm="RC4-128")
    writer.write(tmp_path / "a.pdf")
    if password:
        assert refused(tmp_path / "a.pdf").endswith("a.pdf is encrypted; save a copy without a password")
    else:  # only printing and such are forbidden
        assert len(list(pdf_blocks(tmp_path / "a.pdf"))) == 3


def test_pages_without_text_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_pdf(tmp_path / "a.pdf", [FIRST, [], SECOND])
    with caplog.at_level(logging.WARNING, "limbeck"):
        assert list(pdf_blocks(path))
    assert "1 of 3 pages have no text and were not looked at" in caplog.text


def test_without_pypdf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pypdf", None)
    assert refused(tmp_path / "a.pdf").endswith("reading PDF needs pypdf; pip install 'limbeck[pdf]'")


def test_memory_does_not_grow_with_the_pages(tmp_path: Path) -> None:
    paragraphs = document([False] * 600, sentences=5)

    def peak(pages: int) -> int:
        path = write_pdf(tmp_path / f"{pages}.pdf", set_pages(paragraphs)[:10] * (pages // 10))
        tracemalloc.start()
        for _ in pdf_blocks(path):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(10)  # what is imported on the way
    small, large = peak(10), peak(60)
    assert large < small + 50 * 12_000  # a page's own entries stay, its content does not
