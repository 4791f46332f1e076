"""What scripts/gpu_acceptance.py does on a GPU machine: checks, then measurements, then a report with verdicts."""
