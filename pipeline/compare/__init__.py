"""The same words through several sessions, judged by one instrument."""
