"""What to do about a segment and who does it, from what is said of it; the wording lives in `actions.yaml`."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field


class Action(BaseModel):
    """A suggestion for segments of which certain things are said."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    said: tuple[str, ...] = Field(default=(), description="phrases that must all be said of the segment")
    action: str = Field(min_length=1, description="what to do; {first} is the first thing said of the segment")
    owner: str | None = Field(default=None, description="who acts, where it is not the owner of all")


class Actions(BaseModel):
    """Suggestions by kind of segment, tried in order; the last of a kind asks for nothing and fits all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    owner: str = Field(min_length=1, description="who acts unless an action names somebody else")
    behaviour: tuple[Action, ...] = Field(min_length=1)
    preference: tuple[Action, ...] = Field(min_length=1)

    def suggest(self, kind: Literal["behaviour", "preference"], said: Sequence[str]) -> tuple[str, str]:
        """Action and owner for a segment.

        Args:
            kind: of the segment.
            said: what is said of it, the most telling first.
        """
        offers = self.behaviour if kind == "behaviour" else self.preference
        fitting = next((offer for offer in offers if set(offer.said) <= set(said)), offers[-1])
        return fitting.action.format(first=said[0] if said else "what they like"), fitting.owner or self.owner


def read_actions(text: str) -> Actions:
    """Read actions from YAML, as `actions.yaml` shows them.

    Raises:
        pydantic.ValidationError: the YAML says something else.
    """
    return Actions.model_validate(yaml.safe_load(text))


@cache
def default_actions() -> Actions:
    """The actions of `actions.yaml`, beside this module."""
    return read_actions(files("cer_assets.segment").joinpath("actions.yaml").read_text())
