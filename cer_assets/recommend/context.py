"""The moment a list is shown in: hour, weekday, weather. What is not known of it changes nothing."""

from pydantic import BaseModel, ConfigDict, Field


class Context(BaseModel):
    """When and in what weather a list is shown; every part may be unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hour: int | None = Field(default=None, ge=0, le=23)
    """Hour of the day on the retailer's clock."""
    weekday: int | None = Field(default=None, ge=1, le=7)
    """1 is Monday."""
    temperature: float | None = None
    """Degrees Celsius."""
    rain: float | None = Field(default=None, ge=0)
    """Millimetres that day."""


ANYTIME = Context()
"""Nothing is known of the moment: the list as such."""
