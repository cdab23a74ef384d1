"""Answers with no transport in sight: service, batcher, reload, access."""
