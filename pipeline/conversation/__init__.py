"""The cascade itself: a session that hears, answers, speaks and can be interrupted."""
