"""Trainer, collector, evaluation, checkpoints, datasets, logs, seeds.

`train` one call from task to agent · `config` its settings · `parts` agent and environments of a
run · `trainer` the loop · `learning` updates, shared with offline training · `collector`
environments into replay · `checkpoint` save, check, fall back · `runfolder` paths, resuming ·
`collect`, `collect_config`, `players` datasets and who plays them · `train_offline`, `offline` a
world model from a dataset · `minari` datasets there and back · `loggers`, `progress` JSON lines,
TensorBoard, terminal · `seeding` counter-based randomness · `interrupts` Ctrl-C · `averages`,
`trees` small helpers · `evaluate`, `video`, `panels` scores and pictures · `segmented`, `objects`,
`object_baselines`, `object_fit`, `object_pictures` the object benchmark.
"""
