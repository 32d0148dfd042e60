"""Simulate a labelled cohort on the MNI152 template that nilearn ships: plan, deform, acquire, write."""
