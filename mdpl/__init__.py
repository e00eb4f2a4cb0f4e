"""mdpl: learning the land surface model's parameters from flux towers, by its own derivatives."""
