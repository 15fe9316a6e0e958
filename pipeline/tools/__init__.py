"""Tools that Cascade runs itself: a program's functions, and what MCP servers offer."""
