"""What a teacher gets wrong, and its class means: rows of its answers, tables, pages."""
