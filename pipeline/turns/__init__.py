"""What the user says: where a turn begins and ends, and what stops a reply."""
