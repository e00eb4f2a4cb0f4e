"""What is searched: parameters, and what writes them.

- ``search_space``: bounded parameters as offsets from their defaults
- ``time_varying``: offsets that follow the season or the leaf area
- ``generator``: g_z, one network that writes the parameters of any site
"""
