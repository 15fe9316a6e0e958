"""What is spoken of a text: cut into clauses, made sayable, and which words of it were heard."""
