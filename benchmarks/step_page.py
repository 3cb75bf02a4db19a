"""The result of benchmarks/step.py as a page of Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import Any

NAMES = {
    "plain": "plain masked-LM step of the student",
    "online": "two teachers online, the student's vocabulary",
    "online_other": "two teachers online, one of another vocabulary",
    "usual": "the usual way: full logits of all three models, mean of logits",
}
MB = 1e6


def page(result: dict[str, Any]) -> str:
    """docs/results/step.md."""
    return "\n\n".join(
        (
            _head(result),
            _targets(result),
            _speed(result),
            _memory(result),
            _parts(result),
            _text(result),
            _again(),
        )
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _fill(text: str) -> str:
    """A paragraph, in lines of equal length."""
    return fill(" ".join(text.split()), 118, break_long_words=False, break_on_hyphens=False)


def _head(result: dict[str, Any]) -> str:
    machine, setting, batches = result["environment"], result["setting"], result["batches"]
    versions = ", ".join(
        f"{name} {machine['versions'][name]}" for name in ("torch", "transformers", "tokenizers")
    )
    teacher, student = ("×".join(map(str, setting[who])) for who in ("teacher", "student"))
    first = f"""{machine["processor"]}, {machine["cores"]} cores, {setting["threads"]} threads, no GPU; Python
        {machine["python"]}, {versions}. Two ModernBERT-style teachers of {teacher} (layers × width), one
        student of {student}, random weights (seed {setting["seed"]}); vocabulary {batches["vocabulary"]:,}
        ({setting["student_tokenizer"]}), for a teacher of another vocabulary
        {batches["other_teachers_vocabulary"]:,} ({setting["other_tokenizer"]}, trained on
        {setting["train_text"]}). A batch is {batches["rows"]} × {max(batches["columns"])} pieces of real
        text ({setting["step_text"]}): {batches["tokens_per_step"]:,.0f} tokens and
        {batches["slots_per_step"]:.0f} slots a step. The teacher of another vocabulary answers
        {batches["coverage_other"]:.1%} of the slots."""
    second = f"""Every step is whole: collation, forward, backward, clipping, optimiser (fused AdamW). Tokens
        are the student's, padding left out. bf16 is autocast, in teachers and student. The variants take
        turns, {setting["rounds"]} rounds of {setting["steps"]} steps; a ratio is taken within each round.
        Medians, with the lowest and the highest round in brackets."""
    source = "Written by `benchmarks/step.py` from its JSON, `benchmarks/results/step.json`."
    return "\n\n".join(("# What a step costs", source, _fill(first), _fill(second)))


def _targets(result: dict[str, Any]) -> str:
    rows = [
        [t["what"], f"{t['sense']} {t['wanted']:,}", f"{t['measured']:,.4g}" if t["measured"] < 1000
         else f"{t['measured']:,.0f}", "yes" if t["met"] else "**no**"]
        for t in result["targets"]
    ]  # fmt: skip
    return "## Targets\n\n" + _table(["", "wanted", "measured", "met"], rows)


def _spread(value: dict[str, Any], form: str) -> str:
    return f"{value['median']:{form}} ({value['low']:{form}} to {value['high']:{form}})"


def _rates(speed: dict[str, Any]) -> str:
    rows = [
        [name, *(_spread(measured["tokens_per_second"][key], ",.0f") for measured in speed.values())]
        for key, name in NAMES.items()
    ]
    ratios = next(iter(speed.values()))["ratios"]
    rows += [[f"`{r}`", *(_spread(m["ratios"][r], ".2f") + " ×" for m in speed.values())] for r in ratios]
    return _table(["tokens/s", *speed], rows)


def _speed(result: dict[str, Any]) -> str:
    usual, kept = (
        {p: m["tokens_per_second"]["usual"]["median"] for p, m in result[section].items()}
        for section in ("speed", "speed_memory_kept")
    )
    shares = " and ".join(f"{1 - usual[p] / kept[p]:.0%} ({p})" for p in usual)
    why = f"""The usual way works on blocks of [batch, length, vocabulary]. glibc gives such blocks back to
        the system after every use, and clearing their pages anew takes {shares} of its time. Where the
        allocator is told to keep what it has (`MALLOC_MMAP_THRESHOLD_` and `MALLOC_TRIM_THRESHOLD_` at 8 GB:
        not the default, and it costs memory) the second table results. Limbeck has torch ask for large pages,
        which keeps nothing; here both sides go without (speed.md has them)."""
    names = _fill("In the ratios: " + "; ".join(f"`{key}`, {name}" for key, name in NAMES.items()) + ".")
    parts = "## Speed", _rates(result["speed"]), names, _fill(why), _rates(result["speed_memory_kept"])
    return "\n\n".join(parts)


def _memory(result: dict[str, Any]) -> str:
    def cell(used: dict[str, Any], key: str) -> str:
        over = used[key]["over"]
        return f"{over / MB:,.0f} MB ({over / used['usual']['over']:.0%})"

    rows = [[name, *(cell(used, key) for used in result["memory"].values())] for key, name in NAMES.items()]
    what = """Beyond the resident size after models and optimiser are built, and as a share of the usual
        way's; each in a process of its own. Gradients and AdamW's moments count: they are made in the first
        step."""
    return "\n\n".join(("## Peak memory", _fill(what), _table(["", *result["memory"]], rows)))


def _parts(result: dict[str, Any]) -> str:
    columns = [
        (f"{precision}, {NAMES[name].rsplit(', ', 1)[1]}", measured)
        for precision, by_name in result["parts"].items()
        for name, measured in by_name.items()
    ]
    parts = list(columns[0][1]["milliseconds"])
    rows = [
        [part, *(f"{m['milliseconds'][part]:.1f} ms {m['share'][part]:.1%}" for _, m in columns)]
        for part in parts
    ]
    rows.append(["**all**", *(f"{sum(m['milliseconds'].values()):.0f} ms" for _, m in columns)])
    what = "Medians per part, between stopwatches in the real code."
    table = _table(["", *(name for name, _ in columns)], rows)
    return "\n\n".join(("## Where the time of an online step goes", what, table))


def _text(result: dict[str, Any]) -> str:
    text = result["text"]
    pieces = ", ".join(f"{size:,}" for size in text["tokenizers"])
    what = f"""{result["setting"]["train_text"]} ({text["words"]:,} words between white space,
        {text["passages"]:,} passages) from an empty cache: read, cut, encoded by three tokenizers ({pieces}
        pieces), aligned, written; {text["workers"]} processes, their start included.
        {_spread(text["words_per_second"], ",.0f")} words/s; {_spread(text["share_of_reading"], ".0%")} of
        the time is reading and cutting."""
    return "\n\n".join(("## Preparing text", _fill(what)))


def _again() -> str:
    return "## Again\n\n`make bench` on an otherwise idle machine.\n"
