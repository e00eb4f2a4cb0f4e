"""What observations tell about parameters, beyond one best value.

- ``identifiability``: Fisher information and the standard deviations it leaves
"""
