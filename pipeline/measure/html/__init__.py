"""What reports are made of: one self-contained page, its drawing, its sound."""
