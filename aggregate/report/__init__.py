"""The report: one HTML file that needs nothing beside it, to put before a supervisor."""

from aggregate.report.page import render_report

__all__ = ["render_report"]
