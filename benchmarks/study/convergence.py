"""Question 1: does the same student learn faster and more from teachers, and from which mixture of them?

What is chosen is chosen on the held-out texts of `Setting.texts`, in this order: each weighting's
temperature; whether students see the mask alone; the best single teacher; the best weighting; the
recommended way.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from . import nats
from .convergence_page import headline, page
from .jobs import say
from .setting import TEACHERS, Setting, Size
from .students import Arm, build_stores
from .teachers import teacher_model, train_teachers
from .temperature import temperatures
from .text import documents
from .trainings import Trainings

__all__ = ["Choice", "answer", "choose", "headline", "page"]

MAIN = ("none", "single", "uniform", "best")
"""The arms of both sizes and of the small size's every length, by the part they play."""

HALF = 2
"""What N is divided by in the trainings that the first aim is about."""


@dataclass(frozen=True)
class Choice:
    """The arms that were compared for N steps at the small size, and what was chosen of them.

    mixtures: compared in half of the steps, because a geometric mixture asks the teachers in every step:
    a store keeps too little of them for a product. main: by the parts of `MAIN`. sees: nats by what untaught
    and taught students see.
    """

    arms: list[Arm]
    mixtures: list[Arm]
    main: dict[str, Arm]
    recommended: Arm
    sees: dict[str, dict[str, float]]
    temperatures: dict[str, Any]


def planned(setting: Setting) -> str:
    """How many trainings there will be at most."""
    seeds, lengths = len(setting.seeds), len(setting.shares)
    small = 4 + len(TEACHERS) + len(setting.weightings) - 1 + 2 + len(MAIN) * (lengths - 1) + 3
    small = small * seeds + (2 * len(MAIN) + 1) * len(setting.more_seeds)
    large = len(MAIN) + 1
    names = [size.name for size in setting.sizes]
    return f"at most {small} trainings of {names[0]} and {large * seeds} of {names[1]}"


def cells(setting: Setting) -> list[tuple[Size, int, tuple[str, ...]]]:
    """Which parts are compared at which size and of which share of N steps.

    The large student's trainings are long: of the shorter ones it has the one that the aim asks for.
    """
    small, large = setting.sizes
    return [*((small, share, MAIN) for share in setting.shares), (large, 1, MAIN), (large, HALF, ("best",))]


def seeds_of(setting: Setting, size: Size, share: int) -> tuple[int, ...]:
    """Of the gains of the parts: more than the arms have, where the aims are."""
    more = size == setting.sizes[0] and share <= HALF
    return setting.seeds + (setting.more_seeds if more else ())


def choose(setting: Setting, trainings: Trainings) -> Choice:
    """Trains the students of the small size for N steps, and chooses."""
    small = setting.sizes[0]
    found = temperatures(setting)
    both = {
        "none": {"bert": Arm("none", teachers=()), "mask": Arm("none-mask", teachers=(), sees="mask")},
        "taught": {"bert": Arm("uniform"), "mask": Arm("uniform-mask", sees="mask")},
    }
    first = [arm for kinds in both.values() for arm in kinds.values()]
    trainings.train("what students see", [s for arm in first for s in trainings.students(arm, small)])
    sees = {}
    for who, kinds in both.items():
        mixed = trainings.mixed(list(kinds.values()), small)
        sees[who] = {kind: mixed[arm.name] for kind, arm in kinds.items()}
    best = {who: min(kinds, key=kinds.__getitem__) for who, kinds in sees.items()}
    none, suffix = both["none"][best["none"]], "" if best["taught"] == "bert" else "-mask"

    def taught(name: str, **fields: Any) -> Arm:
        return Arm(name + suffix, sees=best["taught"], **fields)

    def weighted(name: str) -> Arm:
        tau = None if name == "uniform" else found["chosen"][name]
        return taught(name, weighting=name, temperature=tau)

    def raw(arm: Arm) -> Arm:
        return replace(arm, name=f"raw-{arm.name}", calibrate=False)

    def geometric(arm: Arm, *, online: bool = True) -> Arm:
        name = f"geometric-{'' if online else 'stored-'}{arm.name}"
        return replace(arm, name=name, mixture="geometric", online=online)

    singles = {name: taught(f"only-{name}", teachers=(name,)) for name in TEACHERS}
    weightings = {name: weighted(name) for name in setting.weightings}
    uniform = weightings["uniform"]
    second = [*singles.values(), *weightings.values(), raw(uniform)]
    trainings.train("N steps", [s for arm in second for s in trainings.students(arm, small)])
    mixed = trainings.mixed([*singles.values(), *weightings.values()], small)
    single = min(singles.values(), key=lambda arm: mixed[arm.name])
    winner = min(weightings.values(), key=lambda arm: mixed[arm.name])
    trainings.train("not calibrated", trainings.students(raw(winner), small))
    ways = list(dict.fromkeys([*weightings.values(), raw(uniform), raw(winner)]))
    mixed = trainings.mixed(ways, small)
    recommended = min(ways, key=lambda arm: mixed[arm.name])
    arms = list(dict.fromkeys([*first, *singles.values(), *ways]))
    main = dict(zip(MAIN, (none, single, uniform, winner), strict=True))
    geometrics = [geometric(arm) for arm in (uniform, winner)]
    mixtures = list(dict.fromkeys([*geometrics, geometric(uniform, online=False)]))
    return Choice(arms, mixtures, main, recommended, sees, found)


def answer(setting: Setting) -> dict[str, Any]:
    """Everything the page says."""
    say(f"convergence: {planned(setting)}")
    trainings = Trainings(setting)
    taught = train_teachers(setting)
    stores = [build_stores(setting, Arm("store", calibrate=calibrate)) for calibrate in (True, False)]
    choice = choose(setting, trainings)
    small = setting.sizes[0]
    asked = [(arm, small, HALF, setting.seeds) for arm in choice.mixtures]
    asked += [
        (choice.main[part], size, share, seeds_of(setting, size, share))
        for size, share, parts in cells(setting)
        for part in parts
    ]
    asked.append((choice.recommended, small, 1, seeds_of(setting, small, 1)))
    trainings.train("other lengths and sizes", [s for one in asked for s in trainings.students(*one)])
    tested = [trainings.models(arm, small) for arm in choice.arms]
    tested += [trainings.models(*one) for one in asked]
    nats.measure(setting, [model for models in tested for model in models], setting.test_texts())
    folders = [teacher_model(setting, name) for name in TEACHERS]
    nats.measure(setting, folders)
    return {
        "scale": scale(setting) | {"trainings": len(trainings.done)},
        "arms": {arm.name: asdict(arm) for arm in [*choice.arms, *choice.mixtures]},
        "mixtures": [arm.name for arm in choice.mixtures],
        "parts": {part: arm.name for part, arm in choice.main.items()},
        "recommended": recommended(trainings, choice),
        "default": _default(),
        "sees": choice.sees,
        "temperatures": choice.temperatures,
        "teachers": _teachers(setting, taught),
        "beside_teachers": _beside(trainings, choice, folders),
        "stores": {"calibrated": stores[0]["seconds"], "raw": stores[1]["seconds"]},
        "tables": _tables(trainings, choice),
        "gains": _gains(trainings, choice),
        "curves": {
            size.name: {part: trainings.curve(arm, size) for part, arm in choice.main.items()}
            for size in setting.sizes
        },
    }


def scale(setting: Setting) -> dict[str, Any]:
    """At what scale a question was asked."""
    return {
        "sizes": [size.name for size in setting.sizes],
        "rates": [size.learning_rate for size in setting.sizes],
        "steps": setting.steps,
        "shares": list(setting.shares),
        "batch": setting.batch,
        "seeds": list(setting.seeds),
        "passages": setting.passages,
        "text_words": setting.text_words,
        "glosses": setting.glosses,
        "kept": setting.kept,
        "texts": list(setting.texts()),
        "test_texts": list(setting.test_texts()),
        "documents": documents(),
    }


def recommended(trainings: Trainings, choice: Choice) -> dict[str, Any]:
    """The mixture with the lowest nats, and its lead over `uniform` as it stands."""
    arm, uniform = choice.recommended, choice.main["uniform"]
    setting, lead = trainings.setting, None
    if arm != uniform:
        small = setting.sizes[0]
        lead = trainings.gain(arm, uniform, small, seeds=seeds_of(setting, small, 1))
    return {"arm": asdict(arm), "lead": lead}


def _default() -> dict[str, Any]:
    """What a recipe that says nothing gets."""
    from limbeck.distill.weighting import DEFAULT_TEMPERATURE
    from limbeck.recipe_distill import DistillSection

    fields = DistillSection.model_fields
    weighting = str(fields["weighting"].default)
    temperature = DEFAULT_TEMPERATURE[weighting]
    return {"weighting": weighting, "temperature": temperature, "mixture": fields["mixture"].default}


def _teachers(setting: Setting, taught: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {
            "parameters": found["student"]["parameters"],
            "vocabulary": found["student"]["vocabulary"],
            "steps": found["cost"]["steps"],
            "seconds": found["cost"]["seconds"],
            "words": found["text"]["train"]["words"],
        }
        for name, found in taught.items()
    }


def _beside(trainings: Trainings, choice: Choice, folders: list[Path]) -> dict[str, Any]:
    """Teachers and students of N steps on the words that are one piece for all of them."""
    setting = trainings.setting
    models: dict[str, list[Path]] = {name: [place] for name, place in zip(TEACHERS, folders, strict=True)}
    for size in setting.sizes:
        for part, arm in choice.main.items():
            models[f"{part} {size.name}"] = trainings.models(arm, size)
    return nats.table(setting, models, list(setting.texts()), single=True)


def _tables(trainings: Trainings, choice: Choice) -> list[dict[str, Any]]:
    """Nats by arm and text, of every size and length, and the seconds of the trainings."""
    setting, found = trainings.setting, []
    for number, (size, share, parts) in enumerate(cells(setting)):
        chosen = [choice.main[part] for part in parts] if number else choice.arms
        if (size, share) == (setting.sizes[0], HALF):
            chosen = [*chosen, *choice.mixtures]
        arms = {arm.name: arm for arm in chosen}
        found.append(
            {
                "size": size.name,
                "steps": setting.steps // share,
                "valid": trainings.table(arms, size, share, list(setting.texts())),
                "test": trainings.table(arms, size, share, list(setting.test_texts())),
                "seconds": {name: trainings.seconds(arm, size, share) for name, arm in arms.items()},
            }
        )
    return found


def _gains(trainings: Trainings, choice: Choice) -> list[dict[str, Any]]:
    """Paired gains of the best weighting, at equal lengths and at half of the other's; and of mixtures."""
    # A part may have the name of an arm that is another: the part comes first.
    setting, small = trainings.setting, trainings.setting.sizes[0]
    arms = {arm.name: arm for arm in [*choice.arms, *choice.mixtures]} | choice.main
    pairs: list[tuple[str, str, Size, tuple[int, int], tuple[int, ...]]] = []
    for size, share, parts in cells(setting):
        same, seeds = (share, share), seeds_of(setting, size, share)
        if "none" in parts:
            pairs += [("best", other, size, same, seeds) for other in ("none", "uniform", "single")]
            pairs += [(other, "none", size, same, seeds) for other in ("uniform", "single")]
        if share == HALF:
            pairs += [(part, "none", size, (HALF, 1), seeds) for part in parts if part != "none"]
    variants = [(arm, 1) for arm in choice.arms if not arm.calibrate]
    variants += [(arm, HALF) for arm in choice.mixtures]
    for arm, share in variants:
        parent = "best" if arm.weighting == choice.main["best"].weighting else "uniform"
        pairs.append((arm.name, parent, small, (share, share), setting.seeds))
    return [
        {
            "better": better,
            "worse": worse,
            "size": size.name,
            "steps": [setting.steps // share for share in shares],
            "seeds": len(seeds),
        }
        | trainings.gain(arms[better], arms[worse], size, shares, seeds)
        for better, worse, size, shares, seeds in pairs
        if arms[better] != arms[worse] or shares[0] != shares[1]
    ]
