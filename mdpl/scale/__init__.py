"""Many calibrations.

- ``sweep_file``: SWEEP.toml, what its tasks are
- ``tasks``: one calibration of many: settings, name, directory, the site it leaves out
- ``plan``: the folder of a sweep, and the tasks it was begun with
- ``running``: one task, begun, gone on with or left alone; how far each is
- ``workers``: tasks in processes of this machine
- ``slurm``: tasks as a Slurm array, by submitit
- ``sweep_table``: one table over all tasks
- ``command``: ``mdpl sweep``
- ``transfer``: leave one site out
"""
