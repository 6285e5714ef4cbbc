"""Who is analysed: admission, the cohort encoded and split."""
