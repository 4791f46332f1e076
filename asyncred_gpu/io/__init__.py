"""Files in and out: scans of several formats, the rotation centre, and the folder of a run."""

from .center import estimate_center
from .formats import open_projections, read_scan
from .output import OutputFolder
from .projections import Projections, Reading, Scan

__all__ = ["OutputFolder", "Projections", "Reading", "Scan", "estimate_center", "open_projections", "read_scan"]
