"""The page about a run and its pictures.

- ``page``: ``write_report``; ``figures``, ``tables``: what stands on it
- ``plots``, ``parameter_plots``, ``taylor``: single figures; ``style``: one look for all
"""
