"""What `python -m tf_ssgn.bench` runs, one file per subject, each with `run(full) -> dict`."""
