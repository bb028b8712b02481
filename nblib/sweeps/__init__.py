"""Sweeps: one notebook with many parameters and seeds, on this machine's cores or a cluster.

`plans` says what is to run and checks it; `drive.sweep` runs the plan; `cells` is the process that executes one
notebook, and `tasks` what a dask worker does to start it; `clusters` opens the workers; `live` is the table in the
terminal; `tables`, `figures` and `gallery` show what came out.
"""
