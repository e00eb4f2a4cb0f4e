"""The training loop.

- ``trainer``: the loop; ``problem``: what is fitted; ``state``: what changes from epoch to epoch
- ``optimisers``: the protocol; ``adam`` (with ``learners``) and ``gauss_newton`` (with ``jacobian``) follow it
- ``windows``, ``batches``, ``runner``: records cut into columns, and forward runs
- ``resume``, ``checkpoints``: going on after an interruption; ``stops``: numbers that are not finite
"""
