"""Figures of how a study went: learning, fits, differences of configurations, evidence over height."""
