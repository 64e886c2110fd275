"""The report of a results folder: statistics, sentences, tables, plots, pages. Reads what was saved; trains nothing."""
