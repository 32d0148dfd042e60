"""One self-contained HTML file about one training. Importing it needs the `report` extra."""

from aggregate.report.html import render_report

__all__ = ["render_report"]
