"""What people see: one value, shown as a line of text, a table, or a moving line on stderr."""
