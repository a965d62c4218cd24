"""Episodes, replay and storage.

`episode` one episode in memory · `shard` a fixed number of rows on disk · `storage` streams of
shards, byte cap, rollback · `windows` uniform windows as `Batch` · `replay` rows as they arrive,
and windows of them all · `dataset` what stored episodes are about · `splits` training and held-out
episodes · `files` whole-or-absent files · `saved` reading checkpoints.
"""
