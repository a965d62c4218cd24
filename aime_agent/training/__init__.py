"""Trainer, collector, evaluation, checkpoints, logs, seeds.

`train` one call from task to agent · `config` its settings · `parts` agent and environments of a
run · `trainer` the loop · `collector` environments into replay · `checkpoint` save, check, fall
back · `runfolder` paths, resuming · `loggers` JSON lines, TensorBoard, terminal · `seeding`
counter-based randomness · `interrupts` Ctrl-C · `averages`, `trees` small helpers · `evaluate`,
`video`, `panels` scores and pictures · `segmented`, `objects`, `object_baselines`, `object_fit`, `object_pictures`
the object benchmark.
"""
