"""What a run's HTML report is made of: a page, its script and style, and uPlot for curves (MIT, uPlot.LICENSE.txt)."""
