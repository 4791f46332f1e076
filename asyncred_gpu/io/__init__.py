"""Files in and out: scans in the Data Exchange format, the rotation centre, and the folder of a run."""

from .center import estimate_center
from .dataexchange import Scan, read_scan
from .output import OutputFolder

__all__ = ["OutputFolder", "Scan", "estimate_center", "read_scan"]
