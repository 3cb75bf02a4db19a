"""The result of benchmarks/gloss.py as a section of docs/results/wsd.md."""

from __future__ import annotations

from typing import Any

from step_page import _fill, _spread, _table

Row = dict[str, Any]
ARMS = {
    "published": "published: each pair as text, padded to {max_length}",
    "pairs": "our `pairs`",
    "packed": "our `packed`",
}
PHASES = ("training", "prediction")


def section(result: Row) -> str:
    """Setting and a table for each window."""
    setting = result["setting"]
    environment = result["environment"] | {"gpu": None, "threads": setting["threads"]}
    text = f"""{result["parameters"] / 1e6:.1f}M parameters (`{setting["model"]}`), {setting["precision"]};
        {machine(environment)}. The arms take turns on the same instances of SemCor, all with a choice, with
        one model, objective and optimiser: {setting["batch"]} instances a step, {setting["tokens"]:,} pieces
        of ours or {setting["pairs"]} published pairs at once. A turn is {setting["instances"]} instances of
        ours; the published way pads every pair alike, so that its turn is {setting["published"]} of them, and
        its instances per second are its pairs per second over the candidates of an instance. Medians of the
        rounds, with the lowest and the highest in brackets; a ratio is taken within each round. Pieces fed
        are those of an instance, padding included."""
    windows = result["windows"].items()
    parts = [_fill(text), *(_window(w, found, setting["max_length"]) for w, found in windows)]
    return "\n\n".join([*parts, _profile(result["profile"])])


def machine(environment: Row) -> str:
    """Processor or GPU, and versions."""
    where = environment["gpu"] or f"{environment['cores']} cores, {environment['threads']} threads, no GPU"
    versions = ", ".join(f"{n} {environment['versions'][n]}" for n in ("limbeck", "torch", "transformers"))
    return f"{environment['processor']}, {where}; Python {environment['python']}, {versions}"


def _window(window: str, found: Row, max_length: int) -> str:
    shown = "the target's sentence" if window == "0" else f"with {window} sentence(s) more on either side"
    agreed = found["agreement"]
    text = f"""{found["candidates_per_instance"]:.2f} candidates an instance; rounds: {found["rounds"]}.
        Before any training `pairs` and the published way choose the same sense in
        {agreed["same_sense"]:.0%} of {agreed["instances"]} instances, and the median difference of a
        probability is {agreed["median_difference"]:.1g}: they are one function, but for rounding and for what
        is cut."""
    rows = []
    for name, title in ARMS.items():
        rows.append([title.format(max_length=max_length)])
        for phase in PHASES:
            rate = _spread(found[phase]["instances_per_second"][name], ".1f")
            rows[-1] += [rate, f"{found[phase]['pieces_per_instance'][name]['fed']:,.0f}"]
    for ratio in found["training"]["ratios"]:
        rows.append([f"`{ratio}`"])
        for phase in PHASES:
            rows[-1] += [_spread(found[phase]["ratios"][ratio], ".2f") + " ×", ""]
    head = ["", "training, instances/s", "pieces fed", "prediction, instances/s", "pieces fed"]
    return "\n\n".join([f"### Context: {shown}", _fill(text), _table(head, rows)])


def _profile(profile: Row) -> str:
    text = """torch's profiler over a turn, milliseconds of an instance on single sentences. It slows small
        operations, and with them the whole."""
    columns = [(phase, name) for phase in PHASES for name in profile[phase]]
    found = [profile[phase][name] for phase, name in columns]
    kinds = sorted({k for one in found for k in one["share"]}, key=lambda k: -found[1]["share"].get(k, 0.0))
    rows = []
    for kind in kinds:
        shares = [one["share"].get(kind, 0.0) for one in found]
        times = [one["milliseconds"].get(kind, 0.0) for one in found]
        if max(shares) >= 0.005:
            rows.append([kind, *(f"{t:.1f} {s:.0%}" for t, s in zip(times, shares, strict=True))])
    rows.append(["**all**", *(f"{sum(one['milliseconds'].values()):.1f}" for one in found)])
    head = ["by kind of operation", *(f"{phase}, `{name}`" for phase, name in columns)]
    return "\n\n".join(["### Where the time goes", _fill(text), _table(head, rows)])
