"""What a gloss model must remember besides its weights: `gloss.json` in the model's folder."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from limbeck.errors import UserError
from limbeck.gloss.losses import OBJECTIVES


@dataclasses.dataclass(frozen=True)
class GlossSettings:
    """How a gloss model was trained, and so how it is to be asked.

    marks, max_length: of the `Encoder`; layout: `pairs` or `packed`; objective: of OBJECTIVES; candidates:
    `gold` or `all` parts of speech; window: sentences on either side of the target's that it was shown;
    lexicon: its name and version, lexicon_fingerprint: of its content ("": not said).
    """

    marks: str = "quotes"
    max_length: int = 160
    layout: str = "pairs"
    objective: str = "pairs"
    candidates: str = "gold"
    window: int = 0
    lexicon: str = ""
    lexicon_fingerprint: str = ""

    def to_json(self) -> str:
        """The content of gloss.json."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, content: str, where: str) -> GlossSettings:
        """Read gloss.json; fields it lacks have their defaults, fields of later versions are passed over.

        Raises:
            UserError: no JSON object, or a field of another kind.
        """
        try:
            raw = json.loads(content)
        except json.JSONDecodeError as error:
            raise UserError(f"{where} has a damaged gloss.json ({error}); copy the model again") from error
        if not isinstance(raw, dict):
            raise UserError(f"{where} has a gloss.json that is no object; copy the model again")
        given: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            if field.name in raw:
                value = raw[field.name]
                if type(value) is not type(field.default):
                    raise UserError(
                        f"{where} has a gloss.json whose {field.name} is {value!r}; copy the model again"
                    )
                given[field.name] = value
        settings = cls(**given)
        if settings.objective not in OBJECTIVES:
            raise UserError(
                f"{where} has a gloss.json whose objective is {settings.objective!r}; use "
                f"{' or '.join(OBJECTIVES)}"
            )
        return settings
