"""Settings of a contact sheet of rotation centres."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import model_validator

from .forms import Centers, FilePath, Fraction, Positive, setting
from .settings import SIMULATED_ONLY, DataSettings, ScanSettings, Settings


class SheetSettings(Settings):
    """Which centres are tried, and where the sheet goes."""

    section: ClassVar[str] = "sheet"

    width: Positive = setting(8.0, "detectors to either side of the centre that is estimated or given", "8")
    count: Centers = setting(9, "how many centres", "9")
    part: Fraction = setting(0.5, "of the image's side that is shown, around its middle", "0.5")
    output: FilePath | None = setting(None, "a new .png file", "center-NAME.png")


class CenterSettings(SheetSettings, ScanSettings):
    """Of `asyncred center`."""

    unused: ClassVar[tuple[str, ...]] = (*SIMULATED_ONLY, "pad")

    input: FilePath | None = setting(None, DataSettings.model_fields["input"].description or "", "needed")

    @model_validator(mode="after")
    def _a_scan(self) -> Self:
        if self.input is None:
            raise ValueError("center looks at a measured scan. Pass its file: asyncred center FILE")
        return self
