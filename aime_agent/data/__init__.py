"""Episodes, replay and storage.

`episode` one episode in memory · `shard` a fixed number of rows on disk · `storage` streams of
shards, byte cap, rollback · `replay` uniform windows as `Batch` · `files` whole-or-absent files ·
`saved` reading checkpoints.
"""
