"""Kinds of targets: classes, ordered classes, numbers; what follows from one stands in its file."""
