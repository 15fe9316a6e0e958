"""Where did each millisecond of a turn go, how sure are we, and what would a change buy."""
