"""Models on this disk: which there are, where they come from, how they get here."""
