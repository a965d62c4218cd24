"""Measurements of speed and size, on one thread: set here, before torch and mujoco are imported."""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LP_NUM_THREADS"):
    os.environ[_name] = "1"
