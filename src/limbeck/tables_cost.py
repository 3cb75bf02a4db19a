"""The tables of `limbeck eval cost` and `limbeck export`."""

from collections.abc import Iterator, Mapping
from typing import Any

from limbeck.tables import Table, number, size


def cost_tables(result: Mapping[str, Any]) -> Iterator[Table]:
    """What `eval cost` shows: size, cost at each length, memory, training, and what to keep in mind."""
    models = result["models"]
    columns = ["model", "head", "runs on", "parameters", "without embeddings", "weights on disk"]
    yield "Size", columns, [_size_row(one) for one in models]
    machine = result["machine"]
    lengths = sorted({cell["length"] for one in models for cell in one["lengths"]})
    columns = ["model", "MACs/token", "latency p50", "p95", "tokens/s", "passages/s", "batch"]
    priced = any(cell["energy_per_1000_passages"] for one in models for cell in one["lengths"])
    for length in lengths:
        rows = [
            _length_row(one["name"], cell, priced)
            for one in models
            for cell in one["lengths"]
            if cell["length"] == length
        ]
        yield f"Passages of {length} pieces", [*columns, *(["J/1,000 passages"] if priced else [])], rows
    columns = ["model", "libraries", "with the model", "peak, one passage", "peak, a batch", "the batch"]
    yield "Memory, resident in a process of its own", columns, [_memory_row(one) for one in models]
    stages = [(one["name"], stage) for one in models for stage in one["training"] or ()]
    if stages:
        columns = ["model", "run", "tokens", "time", "processes", "energy"]
        yield "Training, by its own log", columns, [_training_row(*stage) for stage in stages]
    notes = [_machine(machine), *result["notes"]]
    yield "Notes", [], [[f"{place}.", note] for place, note in enumerate(notes, 1)]


def _size_row(one: Mapping[str, Any]) -> list[str]:
    return [
        one["name"],
        one["head"],
        f"{one['runtime']} {one['precision']}, {one['device']}",
        number(one["parameters"]),
        number(one["parameters_without_embeddings"]),
        size(one["disk_bytes"]),
    ]


def _length_row(name: str, cell: Mapping[str, Any], priced: bool) -> list[str]:
    latency, throughput = cell["latency"], cell["throughput"]
    row = [
        name,
        _millions(cell["macs_per_token"]),
        f"{latency['p50_ms']:.2f} ms",
        f"{latency['p95_ms']:.2f} ms",
        f"{throughput['tokens_per_second']:,.0f}",
        f"{throughput['passages_per_second']:,.1f}",
        f"{throughput['batch']}",
    ]
    return [*row, _energy(cell["energy_per_1000_passages"])] if priced else row


def _millions(macs: float | None) -> str:
    return "–" if macs is None else f"{macs / 1e6:,.2f} M"


def _energy(found: Mapping[str, Any] | None, *, kwh: bool = False) -> str:
    """Energy in joules or kWh; one that was not measured is marked as an estimate."""
    if found is None:
        return "–"
    shown = f"{found['kwh']:.3g} kWh" if kwh else f"{found['joules']:.3g}"
    return shown if found["measured"] else f"{shown} (estimate)"


def _memory_row(one: Mapping[str, Any]) -> list[str]:
    memory, used = one["memory"], one["memory"]["bytes"]
    shown = [_peak(used, name) for name in ("peak_one", "peak_batch")]
    batch = f"{memory['batch']} × {memory['length']}"
    return [one["name"], size(used["libraries"]), size(used["loaded"]), *shown, batch]


def _peak(used: Mapping[str, int], name: str) -> str:
    device = used.get(f"{name}_device")
    return size(used[name]) + (f", GPU {size(device)}" if device else "")


def _training_row(name: str, stage: Mapping[str, Any]) -> list[str]:
    from limbeck.training.progress import duration

    seconds = stage["seconds"]
    return [
        name,
        stage["run"] + ("" if stage["finished"] else " (not finished)"),
        number(stage["tokens"]),
        "–" if seconds is None else duration(seconds),
        number(stage["processes"]),
        _energy(stage["energy"], kwh=True),
    ]


def _machine(machine: Mapping[str, Any]) -> str:
    device = "" if machine["device"] == "cpu" else f"; {machine['device']}"
    return (
        f"Measured on {machine['processor']}, {machine['cores']} cores, threads used: {machine['threads']}, "
        f"{machine['platform']}{device}. Other work on the machine makes all times worse."
    )


def export_tables(result: Mapping[str, Any]) -> Iterator[Table]:
    """What `export` shows: what was written, its inputs and output, and how near it is to torch."""
    parity = result["parity"]
    shapes = {
        name: f"{kind} [{', '.join(shape)}]"
        for part, kind in (("inputs", "int64"), ("output", "float32"))
        for name, shape in result[part].items()
    }
    lengths = sorted({length for _, length in parity["compared"]})
    rows = [
        ["folder", result["folder"]],
        ["model", f"{result['family']}, {result['head']}"],
        ["size", size(result["bytes"])],
        *([name, shape] for name, shape in shapes.items()),
        ["compared with torch", f"{len(parity['compared'])} batches of {lengths[0]} to {lengths[-1]} pieces"],
        [
            "largest difference",
            f"{parity['largest_difference']:.2g}, outputs up to {parity['largest_output']:.3g} "
            f"({parity['tolerance']:g} of that is allowed)",
        ],
    ]
    yield "Exported", [], rows
