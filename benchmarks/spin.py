"""The spinner's speed, memory, and the rates it reaches.

    python benchmarks/spin.py [--rounds 5]

writes benchmarks/results/spin.json. Run it on an otherwise idle machine; one core is used. A round is a
process of its own: it loads the lexicon, spins all paragraphs once (`first`: every word form is met and
looked up) and once more (`again`: the forms are remembered, as in the course of a long text). Speeds are in
words per second of wall time, and of the process's own time, which other work on the machine disturbs less.
Memory is of a process that spins the text once, and of one that spins it four times over. Needs WordNet 3.0
and the text of LIMBECK_DATA (its folder plagiarism).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from step_measure import isolated, spread

from limbeck.files import atomic_write
from limbeck.lexicon.lexicon import open_lexicon
from limbeck.run import environment
from limbeck.text.documents import Counts, blocks
from limbeck.tools.spin import Spinner, collecting_seldom
from limbeck.tools.spin_files import Totals

ROOT = Path(__file__).resolve().parents[1]
TEXT = "plagiarism/good-articles.original.tsv.zst"
LEAST = 100_000  # words per second
PARTS = ("first", "again")
CLOCKS = {"wall": time.perf_counter, "process": time.process_time}
SPEEDS = tuple(f"{part}_{clock}" for part in PARTS for clock in CLOCKS)


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.125, 0.25, 0.5])
    parser.add_argument("--text", type=Path, help="a TSV with a column `text`; by default of LIMBECK_DATA")
    parser.add_argument("--lexicon", default="wordnet")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "results" / "spin.json")
    given = parser.parse_args(arguments)
    if given.text is None:
        if "LIMBECK_DATA" not in os.environ:
            parser.error("set LIMBECK_DATA, or give --text")
        given.text = Path(os.environ["LIMBECK_DATA"]) / TEXT
    return given


def paragraphs(path: Path) -> Iterator[str]:
    """The cells of the column `text`."""
    kind = "zst" if path.suffix == ".zst" else "plain"
    held, place = b"", -1
    for block in blocks(path, kind, Counts()):
        *lines, held = (held + block).split(b"\n")
        for line in lines:
            fields = line.decode().split("\t")
            if place < 0:
                place = fields.index("text")
            else:
                yield fields[place]


def speed(path: Path, lexicon: str, rate: float) -> dict[str, Any]:
    """One round: seconds to load, words per second of either part, counts."""
    texts = list(paragraphs(path))
    began = time.perf_counter()
    spinner = Spinner(open_lexicon(lexicon), rate=rate)
    found: dict[str, Any] = {"load_seconds": time.perf_counter() - began}
    for part in PARTS:
        totals, starts = Totals(), {name: clock() for name, clock in CLOCKS.items()}
        with collecting_seldom():  # as the command does
            for text in texts:
                for spun in spinner.stream([text]):
                    totals.add(spun)
        for name, clock in CLOCKS.items():
            found[f"{part}_{name}"] = totals.words / (clock() - starts[name])
    return found | totals.record() | {"paragraphs": len(texts)}


def peak(path: Path, lexicon: str, times: int) -> float:
    """Peak memory of a process that spins the text so many times, one paragraph after the other, in bytes."""
    spinner = Spinner(open_lexicon(lexicon))
    for _ in range(times):
        for text in paragraphs(path):
            for _spun in spinner.stream([text]):
                pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Everything, as it stands in the JSON."""
    rates: dict[str, Any] = {}
    for rate in given.rates:
        rounds = []
        for number in range(given.rounds):
            print(f"rate {rate}, round {number + 1} of {given.rounds}", file=sys.stderr, flush=True)
            rounds.append(isolated(speed, given.text, given.lexicon, rate))
        counts = {name: rounds[0][name] for name in (*Totals().record(), "paragraphs")}
        timed = {name: spread([one[name] for one in rounds]) for name in ("load_seconds", *SPEEDS)}
        rates[str(rate)] = counts | timed
    print("memory", file=sys.stderr, flush=True)
    memory = {str(times): isolated(peak, given.text, given.lexicon, times) for times in (1, 4)}
    slowest = {name: min(one[name]["median"] for one in rates.values()) for name in SPEEDS}
    return {
        "benchmark": "spin",
        "environment": environment(),
        "setting": {"text": given.text.name, "lexicon": given.lexicon, "rounds": given.rounds},
        "rates": rates,
        "peak_bytes_by_times": memory,
        "target": {"words_per_second": LEAST, **{name: slowest[name] >= LEAST for name in SPEEDS}},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and writes the JSON."""
    given = options(arguments)
    result = measure(given)
    atomic_write(given.json, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    for rate, one in result["rates"].items():
        speeds = ", ".join(f"{name} {one[name]['median']:,.0f} words/s" for name in SPEEDS)
        print(f"rate {rate}: reached {one['rate_reached']:.3f}; {speeds}")


if __name__ == "__main__":
    main()
