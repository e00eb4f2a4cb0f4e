"""The multi-task surrogate: a network that answers like the land surface model, much faster.

- ``runs``: model runs it learns from; ``inputs``: what it sees; ``network``: the network and its model path
- ``fitting``: ``train_or_load_surrogate``; ``skill``: how well it imitates
"""
