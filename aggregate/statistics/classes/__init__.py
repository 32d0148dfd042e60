"""More than two classes: each against the rest, each two of them, who is called what, calibration of each."""
