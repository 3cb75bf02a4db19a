"""Writes docs/results/store.md from benchmarks/results/store.json and, where it is there, faithful.json.

python benchmarks/store_page.py [--notes benchmarks/results/store-notes.md]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gloss_page import machine
from step_page import _fill, _spread, _table

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
Row = dict[str, Any]


def page(store: Row, faithful: Row | None, notes: str = "") -> str:
    """The page."""
    parts = ["# The store of predictions, measured"]
    parts.append(
        _fill("""Written by `benchmarks/store_page.py` from the JSON that `benchmarks/store.py` and
        `benchmarks/faithful.py` leave in `benchmarks/results/`; [store.md](../store.md) tells what the store
        is.""")
    )
    parts += [notes.strip()] if notes.strip() else []
    parts += [_setting(store), _targets(store), _bytes(store), _divergence(store), _speed(store)]
    parts += [_faithful(faithful)] if faithful else []
    parts.append("""## Again

`python benchmarks/store.py` and `python benchmarks/faithful.py` (`--help` tells what they need), then
`python benchmarks/store_page.py`.""")
    return "\n\n".join(parts) + "\n"


def _setting(store: Row) -> str:
    setting = store["setting"]
    environment = store["environment"] | {"gpu": None, "threads": setting["threads"]}
    steps = setting["teacher_steps"]
    teacher = f"trained on corpus-small for {steps:,} steps" if steps else "given"
    return _fill(f"""{machine(environment)}. Teacher for bytes and divergence: 4×256, 30,522 pieces,
        {teacher}. k = 16 where no other is named, 15% of the words masked. What is timed takes turns in one
        process, {setting["rounds"]} rounds. Medians, with the lowest and the highest round in brackets.""")


def _targets(store: Row) -> str:
    rows = [
        [t["what"], f"{t['sense']} {t['wanted']:g}", f"{t['measured']:.3g}", "yes" if t["met"] else "**no**"]
        for t in store["targets"]
    ]
    return "## Targets\n\n" + _table(["", "wanted", "measured", "met"], rows)


def _bytes(store: Row) -> str:
    found, share = store["bytes"], store["setting"]["share"]
    part = "corpus-small" if share == 1 else f"one chunk in {share} of corpus-small"
    return "## Bytes\n\n" + _fill(f"""{part}: {found["predictions"]:,} predictions,
        {found["bytes_per_prediction"]:.2f} bytes each, **{found["bytes_per_token"]:.2f} bytes per token** of
        text and teacher (with the index and the tokenizer {found["bytes_per_token_all_files"]:.2f}).""")


def _divergence(store: Row) -> str:
    text = f"""What is read from the store against the exact predictions, at the masked pieces of
        {store["setting"]["passages"]} held-out passages. *rounding*: nats of KL between the pieces whose own
        mass is kept, as written, and the exact ones. *outside*: mass of all other pieces. *apart*: half the
        sum of absolute differences of one prediction's target from the exact one; drawn pieces change from
        record to record and are right on average. *blind*: nats of KL if the mass outside were spread evenly,
        as a bucket would."""
    rows = [
        [str(r["k"]), f"{r['bytes_per_prediction']:.1f}", f"{r['rounding']:.1e}", f"{r['rest']:.3f}",
         f"{r['apart']:.3f}", f"{r['blind']:.3f}"]
        for r in store["divergence"]
    ]  # fmt: skip
    head = ["k", "bytes", "rounding", "outside", "apart", "blind"]
    return "\n\n".join(["## Divergence by k", _fill(text), _table(head, rows)])


def _speed(store: Row) -> str:
    rows = []
    for precision, found in store["build"].items():
        rate = {n: f"{_spread(found['pieces_per_second'][n], ',.0f')} pieces/s" for n in ("build", "bare")}
        rows.append([f"building, {precision}", rate["build"], rate["bare"], _spread(found["ratio"], ".3f")])
    found = store["build_large"]
    rate = {n: f"{_spread(found['pieces_per_second'][n], ',.0f')} pieces/s" for n in ("build", "bare")}
    name = f"building with a teacher of {'×'.join(map(str, found['teacher']))}, {found['precision']}"
    rows.append([name, rate["build"], rate["bare"], _spread(found["ratio"], ".3f")])
    for precision, found in store["step"].items():
        rate = {n: {k: _ms(v) for k, v in s.items()} for n, s in found["seconds_per_step"].items()}
        rows.append([f"training step, {precision}", f"{_spread(rate['stored'], '.0f')} ms",
                     f"{_spread(rate['plain'], '.0f')} ms", _spread(found["ratio"], ".3f")])  # fmt: skip
    rates = next(iter(store["build"].values()))
    parts = ", ".join(
        f"reading {pieces(found, 'reading'):.0%} and keeping {pieces(found, 'keeping'):.0%} in {precision}"
        for precision, found in store["build"].items()
    )
    text = f"""*building*: {rates["passages"]} passages from text to {rates["chunks"]} chunks, against the
        teacher's bare forwards over the same batches. As shares of the forwards' time, each alone: {parts}.
        Reading (tokens, masks, batches) goes on beside the forwards, on the same two cores; keeping (softmax,
        the likeliest pieces, the draw) walks every logit three times. *training step*: from two
        teachers' stores (k = {store["step_kept"]}), against a plain masked-LM step of the same 2×128 student;
        batches, clipping and optimiser included."""
    head = ["", "with the store", "against", "ratio"]
    return "\n\n".join(["## Speed", _fill(text), _table(head, rows)])


def pieces(found: Row, part: str) -> float:
    """Time of a part of building, as a share of the forwards'."""
    rates = found["pieces_per_second"]
    return float(rates["bare"]["median"] / rates[part]["median"])


def _ms(value: Any) -> Any:
    return [1000 * v for v in value] if isinstance(value, list) else 1000 * value


def _faithful(found: Row) -> str:
    setting, summary, stores = found["setting"], found["summary"], list(found["stores"])
    text = f"""Teachers of two domains (4×256, [first.md](first.md)), student {setting["student"]}, trained
        without teachers for {setting["start_steps"]:,} steps (from random weights students leave their
        plateau by luck, which drowns the difference); from there {setting["steps"]:,} steps of
        {setting["batch"]} passages, learning rate {setting["learning_rate"]:g}, `{setting["weighting"]}`,
        kd = 1, ce = 0. The students of a seed see the same text and masks and differ in their targets alone:
        the text's own words (no teacher), the teachers' predictions, those of a store of k pieces. Nats per
        masked piece of held-out text; in brackets what it is above online. Wanted: where teaching online is
        worth at least 0.1 nats, within 0.02 of it."""
    rows = []
    for number, (seed, arms) in enumerate(found["seeds"].items()):
        row = [seed, *(f"{arms[arm]['nats']:.4f}" for arm in ("none", "online"))]
        row += [f"{arms[s]['nats']:.4f} ({summary[s]['apart'][number]:+.4f})" for s in stores]
        rows.append(row)
    gains = summary["none - online"]
    means = [f"**{summary[s]['mean']:+.4f}**" for s in stores]
    rows.append(["mean", f"{sum(gains) / len(gains):+.4f}", "", *means])
    rows.append(
        ["every seed within 0.02", "", "", *("yes" if summary[s]["met"] else "**no**" for s in stores)]
    )
    sizes = [
        sum(one["bytes_per_token"] for one in found["stores"][s]) / len(found["stores"][s]) for s in stores
    ]
    rows.append(["bytes per token and teacher", "", "", *(f"{size:.1f}" for size in sizes)])
    head = ["seed", "no teacher", "online", *(f"store, k = {s.removeprefix('store')}" for s in stores)]
    return "\n\n".join(["## As good as online", _fill(text), _table(head, rows)])


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the JSON, writes the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, default=RESULTS / "store.json")
    parser.add_argument("--faithful", type=Path, default=RESULTS / "faithful.json")
    parser.add_argument("--notes", type=Path, default=RESULTS / "store-notes.md")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "results" / "store.md")
    given = parser.parse_args(arguments)
    store = json.loads(given.json.read_text(encoding="utf-8"))
    there = given.faithful.is_file()
    faithful = json.loads(given.faithful.read_text(encoding="utf-8")) if there else None
    notes = given.notes.read_text(encoding="utf-8") if given.notes.is_file() else ""
    given.page.parent.mkdir(parents=True, exist_ok=True)
    given.page.write_text(page(store, faithful, notes), encoding="utf-8")


if __name__ == "__main__":
    main()
