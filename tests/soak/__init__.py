"""Months in minutes: a fleet at work while PCs, lines and databases are killed (`python -m tests.soak`)."""
