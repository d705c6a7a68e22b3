"""The published CSV files on their way into the database: which rows are valid, and what is wrong with the others."""
