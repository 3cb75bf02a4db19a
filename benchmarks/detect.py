"""The detector's speed, memory, errors and intervals on texts it has not seen.

    python benchmarks/detect.py DETECTOR [--threads 2] [--rounds 3]

writes benchmarks/results/detect.json. DETECTOR is the folder of one that `limbeck detect train` made on the
SpinBot paragraphs of LIMBECK_DATA (its folder plagiarism). Speed: a PDF of 100 pages, made on the spot of
originals, by the command in a process of its own, start included, page written too. Memory: the peak of one
that reads a text file of one and of eight million characters. Errors: paragraphs of the test split, and
originals of another source. Intervals: documents drawn from the test split with a known share of paraphrase.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from step_measure import isolated, spread
from write_pdf import set_pages, write_pdf

from limbeck.files import atomic_write
from limbeck.run import environment
from limbeck.tasks.paraphrase_data import read_originals, read_paraphrases
from limbeck.tools.detect import Detector, Summary
from limbeck.tools.detect_calibration import calibration_error, errors
from limbeck.tools.detect_files import find_documents, read_blocks
from limbeck.tools.detect_text import Block

ROOT = Path(__file__).resolve().parents[1]
TEST, OTHER = "spinbot-wiki.test.tsv.zst", "good-articles.original.tsv.zst"
MOST = 60.0  # seconds for the PDF
SHARES = (0.0, 0.1, 0.25, 0.5, 1.0)


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("detector", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pages", type=int, default=100)
    parser.add_argument("--texts", type=int, default=2000, help="of the test split, and of the other source")
    parser.add_argument("--documents", type=int, default=40, help="of each share")
    parser.add_argument("--paragraphs", type=int, default=30, help="of a document")
    parser.add_argument("--characters", type=int, nargs=2, default=[1_000_000, 8_000_000])
    parser.add_argument("--data", type=Path, help="folder of the sets; by default of LIMBECK_DATA")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "results" / "detect.json")
    given = parser.parse_args(arguments)
    if given.data is None:
        if "LIMBECK_DATA" not in os.environ:
            parser.error("set LIMBECK_DATA, or give --data")
        given.data = Path(os.environ["LIMBECK_DATA"]) / "plagiarism"
    return given


def pdf_time(given: argparse.Namespace, pdf: Path, page: Path) -> float:
    """Seconds of the whole command."""
    words = ["detect", str(given.detector), str(pdf), "--html", str(page), "--json", "--device", "cpu"]
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "limbeck", *words],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": str(given.threads)},
    )
    return time.perf_counter() - began


def peak(detector: Path, path: Path, threads: int) -> dict[str, float]:
    """Peak memory of a process that scores a text file, and passages per second."""
    torch.set_num_threads(threads)
    known, summary = Detector.from_pretrained(detector, device="cpu"), Summary()
    began = time.perf_counter()
    for passage in known.stream(read_blocks(find_documents([path])[0])):
        summary.add(passage)
    seconds = time.perf_counter() - began
    return {
        "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0,
        "passages": float(summary.passages),
        "words_per_second": summary.words / seconds,
    }


def scores(detector: Detector, texts: Sequence[str]) -> list[tuple[Summary, list[float]]]:
    """Of each text by itself: what it comes to, and its passages' scores."""
    found: list[tuple[Summary, list[float]]] = [(Summary(), []) for _ in texts]
    for passage in detector.stream(Block("text", text) for text in texts):
        summary, several = found[passage.number - 1]
        summary.add(passage)
        several += [] if passage.score is None else [passage.score]
    return found


def passages(found: Sequence[tuple[Summary, list[float]]]) -> tuple[Any, Any]:
    """The passages' scores of texts, and the number of the text that each is of."""
    return (
        np.array([score for _, several in found for score in several]),
        np.array([number for number, (_, several) in enumerate(found) for _ in several]),
    )


def quality(given: argparse.Namespace) -> dict[str, Any]:
    """Errors of paragraphs and of documents' intervals."""
    torch.set_num_threads(given.threads)
    detector = Detector.from_pretrained(given.detector, device="cpu")
    test = read_paraphrases(given.data / TEST).examples
    draw = random.Random(0)
    texts = {
        kind: [text for text, label in zip(test.texts, test.labels, strict=True) if label == kind]
        for kind in ("original", "paraphrased")
    }
    chosen = {
        kind: draw.sample(several, min(given.texts // 2, len(several))) for kind, several in texts.items()
    }
    made = {kind: scores(detector, several) for kind, several in chosen.items()}
    p, taken = passages([*made["original"], *made["paraphrased"]])
    known = taken >= len(made["original"])
    originals = list(read_originals(given.data / OTHER).texts)
    other = scores(detector, draw.sample(originals, min(given.texts, len(originals))))
    others, articles = passages(other)
    none = np.zeros(len(others), bool)
    return {
        "test": {
            "passages": len(p),
            "calibration_error": calibration_error(p, known),
            "errors": [errors(p, known, level, taken) for level in (0.5, 0.9)],
        },
        "other_originals": {
            "source": OTHER,
            "passages": len(others),
            "false_alarms": [errors(others, none, level, articles)["false_alarms"] for level in (0.5, 0.9)],
        },
        "documents": [_documents(given, made, share, draw) for share in SHARES],
    }


def _documents(
    given: argparse.Namespace,
    made: dict[str, list[tuple[Summary, list[float]]]],
    share: float,
    draw: random.Random,
) -> dict[str, Any]:
    """Documents of paragraphs drawn from the two kinds: is the true share of words in the interval?"""
    inside, estimates, truths, widths = 0, [], [], []
    for _ in range(given.documents):
        spun = round(share * given.paragraphs)
        parts = [
            (kind == "paraphrased", *one)
            for kind, count in (("paraphrased", spun), ("original", given.paragraphs - spun))
            for one in draw.sample(made[kind], count)
        ]
        whole, paraphrased = Summary(), 0
        for is_spun, summary, _ in parts:
            whole.extend(summary)
            paraphrased += is_spun * summary.record()["scored_words"]
        record = whole.record()
        found, true = record["paraphrased"], paraphrased / record["scored_words"]
        inside += found["low"] - 1e-9 <= true <= found["high"] + 1e-9
        estimates.append(found["share"])
        truths.append(true)
        widths.append(found["high"] - found["low"])
    return {
        "share_of_paragraphs": share,
        "documents": given.documents,
        "paragraphs": given.paragraphs,
        "true_share_of_words": float(np.mean(truths)),
        "estimated": float(np.mean(estimates)),
        "mean_distance": float(np.mean(np.abs(np.array(estimates) - np.array(truths)))),
        "inside_interval": inside / given.documents,
        "interval_width": float(np.mean(widths)),
    }


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Everything, as it stands in the JSON."""
    record = json.loads((given.detector / "detector.json").read_text(encoding="utf-8"))
    originals = list(read_originals(given.data / OTHER).texts)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        pages = set_pages(originals[: 20 * given.pages], given.pages)
        pdf = write_pdf(place / "pages.pdf", pages)
        print("speed", file=sys.stderr, flush=True)
        seconds = [pdf_time(given, pdf, place / "page.html") for _ in range(given.rounds)]
        print("memory", file=sys.stderr, flush=True)
        memory = {}
        for size in given.characters:
            path, written = place / f"{size}.txt", 0
            with path.open("w", encoding="utf-8") as file:
                while written < size:
                    for text in originals:
                        written += file.write(text + "\n\n")
                        if written >= size:
                            break
            memory[str(size)] = isolated(peak, given.detector, path, given.threads)
    print("errors", file=sys.stderr, flush=True)
    return {
        "benchmark": "detect",
        "environment": environment(),
        "setting": {
            "threads": given.threads, "rounds": given.rounds, "pages": len(pages),
            "words": sum(len(line.split()) for lines in pages for line in lines),
        },
        "detector": {
            **{name: record["made"][name] for name in ("family", "parameters", "seed")},
            "trained_on": record["data"]["train"], "cost": record["made"]["cost"], "valid": record["valid"],
        },
        "pdf_seconds": spread(seconds),
        "memory_by_characters": memory,
        **isolated(quality, given),
        "target": {"pdf_seconds": MOST, "met": max(seconds) < MOST},
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and writes the JSON."""
    given = options(arguments)
    result = measure(given)
    atomic_write(given.json, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    print(f"{result['setting']['pages']} pages: {result['pdf_seconds']['median']:.1f} s")
    for one in result["documents"]:
        print(f"share {one['share_of_paragraphs']}: {one['inside_interval']:.0%} inside the interval")


if __name__ == "__main__":
    main()
