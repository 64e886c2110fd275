"""The report of a results folder: statistics, sentences, tables, plots, pages. Reads what was saved; trains nothing."""

from perf_envs.extras import check_extra

check_extra("train", "the report")
