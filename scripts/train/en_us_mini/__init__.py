"""The recipe of en_US-mini, a small English voice for Piper."""
