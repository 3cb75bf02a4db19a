"""The result of benchmarks/rivals.py as a page of Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from rivals_text import COMPILED, KEPT, MEMORY, OPERATIONS, OTHERS, PARTS, PEAK, RATIOS, SETTING, STEP
from rivals_variants import KINDS
from step_page import MB, _fill, _spread, _table

Result = dict[str, Any]


def page(result: Result, notes: str = "") -> str:
    """docs/results/speed.md; `notes`: what the figures say."""

    def said(_: Result) -> str:
        return notes.strip()

    sections = _head, _targets, said, _speed, _ratios, _kept, _memory, _peak, _profile
    sections = *sections, _compiled, _others, _again
    return "\n\n".join(text for section in sections if (text := section(result)))


def _head(result: Result) -> str:
    machine, setting, batches = result["environment"], result["setting"], result["batches"]
    versions = [f"{name} {machine['versions'][name]}" for name in ("torch", "transformers")]
    versions += [f"{name} {version}" for name, version in machine["programs"].items() if version]
    teacher, student = ("×".join(map(str, setting[who])) for who in ("teacher", "student"))
    sizes = {who: f"{count / 1e6:,.1f}M" for who, count in batches["parameters"].items()}
    first = SETTING.format(
        **machine | setting | batches,
        machine=machine["gpu"] or "no GPU",
        libraries=", ".join(versions),
        teacher_shape=teacher,
        student_shape=student,
        teacher_size=sizes["teacher"],
        student_size=sizes["student"],
        longest=max(batches["columns"]),
    )
    second = STEP.format(
        collation="the batch is collated beforehand" if setting["ready"] else "collation",
        rounds=setting["rounds"],
        turn=", ".join(f"{count} of `{kind}`" for kind, count in setting["turn"].items()),
    )
    source = "Written by `benchmarks/rivals.py` from its JSON in `benchmarks/results/`."
    return "\n\n".join(("# Speed of a step, against other programs", source, _fill(first), _fill(second)))


def _targets(result: Result) -> str:
    rows = [
        [
            target["what"],
            target["versus"],
            f"{target['sense']} {target['wanted']:g}",
            f"{target['measured']:.3g}",
            "yes" if target["met"] else "**no**",
        ]
        for target in result["targets"]
    ]
    return "## Targets\n\n" + _table(["", "compared", "wanted", "measured", "met"], rows)


def _precisions(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name.split()[1] for name in names))


def _by_kind(names: Iterable[str], cell: Callable[[str], str]) -> list[list[str]]:
    """A row for each kind, a cell for each precision."""
    names = list(names)
    return [
        [kind.what, *(cell(f"{key} {p}") if f"{key} {p}" in names else "" for p in _precisions(names))]
        for key, kind in KINDS.items()
        if any(name.split()[0] == key for name in names)
    ]


def _rates(speed: Result) -> str:
    rates = speed["tokens_per_second"]
    rows = _by_kind(rates, lambda name: _spread(rates[name], ",.0f"))
    return _table(["tokens/s", *_precisions(rates)], rows)


def _speed(result: Result) -> str:
    speed = result["speed"]
    missing = " ".join(f"{name}: {reason}." for name, reason in speed["absent"].items())
    return "\n\n".join(["## Speed", _rates(speed)] + [_fill(f"Not measured: {missing}")] * bool(missing))


def _ratio_table(ratios: Result) -> str:
    rows = [
        [title, f"{found['of']} : {found['over']}", _spread(found, ".2f")] for title, found in ratios.items()
    ]
    return _table(["", "compared", "ratio"], rows)


def _ratios(result: Result) -> str:
    return "\n\n".join(("## Ratios", _fill(RATIOS), _ratio_table(result["ratios"])))


def _kept(result: Result) -> str:
    if "speed_memory_kept" not in result:
        return ""
    title = "## Where the others' allocator keeps its memory"
    rates, ratios = _rates(result["speed_memory_kept"]), _ratio_table(result["ratios_memory_kept"])
    return "\n\n".join((title, _fill(KEPT), rates, ratios))


def _memory(result: Result) -> str:
    used, shares = result["memory"], result["memory_shares"]

    def cell(name: str) -> str:
        share = f" ({shares[name]['share']:.0%})" if name in shares else ""
        return f"{used[name]['over'] / MB:,.0f} MB{share}"

    table = _table(["", *_precisions(used)], _by_kind(used, cell))
    return "\n\n".join(("## Peak memory", _fill(MEMORY), table))


def _peak(result: Result) -> str:
    speed, shares = result["speed"], result["shares_of_peak"]
    peaks = {
        precision: {key: found[key] / 1e9 for key in ("median", "low", "high")}
        for precision, found in speed["matrix_product"].items()
    }

    def cell(name: str) -> str:
        share = shares[name]
        done = f", {share['done_share']:.1%} done" if share["done_share"] > share["needed_share"] else ""
        return f"{speed['flops'][name]['needed'] / 1e9:,.1f} GFLOP, **{share['needed_share']:.1%}**{done}"

    what = PEAK.format(
        rows=result["setting"]["product"],
        peaks=", ".join(f"{_spread(found, ',.0f')} in {p}" for p, found in peaks.items()),
    )
    table = _table(["share of the bf16 peak", *_precisions(shares)], _by_kind(shares, cell))
    return "\n\n".join(("## Share of the machine's peak", _fill(what), table))


def _columns(measured: Result, first: str) -> str:
    """Milliseconds and shares, a row for each part, a column for each variant."""
    parts = list(dict.fromkeys(part for found in measured.values() for part in found["milliseconds"]))
    rows = [[part, *(_part(found, part) for found in measured.values())] for part in parts]
    whole = [f"{sum(found['milliseconds'].values()):.0f} ms" for found in measured.values()]
    return _table([first, *measured], [*rows, ["**all**", *whole]])


def _part(found: Result, part: str) -> str:
    if part not in found["milliseconds"]:
        return ""
    return f"{found['milliseconds'][part]:.1f} ms {found['share'][part]:.1%}"


def _profile(result: Result) -> str:
    """By kind of operation and, where it was measured, by part of the step; a table for each precision."""
    found: list[str] = []
    for what, first, explained in (
        ("operations", "by kind of operation", OPERATIONS),
        ("parts", "by part of the step", PARTS),
    ):
        tables = []
        for precision in _precisions(result["profile"]):
            names = [name for name in result["profile"] if name.split()[1] == precision]
            columns = {name: result["profile"][name][what] for name in names}
            if all(columns.values()):
                tables.append(_columns(columns, first))
        found += [_fill(explained), *tables] if tables else []
    return "\n\n".join(["## Where the time of a step goes", *found]) if found else ""


def _compiled(result: Result) -> str:
    measured = {p: found for p, found in result.get("compiled", {}).items() if found}
    rows = [
        [
            precision,
            *(f"{found['milliseconds'][name]:.1f} ms" for name in ("plain", "compiled")),
            f"{found['warm_up_seconds']:.0f} s",
            "never" if found["after_steps"] is None else f"{found['after_steps']:,.0f}",
        ]
        for precision, found in measured.items()
    ]
    if not rows:
        return ""
    table = _table(["", "as it is", "compiled", "compiling", "gain from step"], rows)
    return "\n\n".join(("## torch.compile", _fill(COMPILED), table))


def _others(result: Result) -> str:
    kilobytes = f"{result['batches']['vocabulary'] * 4 * 2 / 1000:,.0f}"
    notes = [_fill(note.format(kilobytes=kilobytes)) for note in OTHERS]
    return "\n\n".join(("## What the others do", *notes))


def _again(result: Result) -> str:
    return (
        "## Again\n\n`python benchmarks/rivals.py --torchdistill FOLDER` on an otherwise idle machine "
        "(`--help` tells how the\nfolder is made); `--device cuda --size base` on a machine with a GPU.\n"
    )
