"""What the two model recipes have in common."""
