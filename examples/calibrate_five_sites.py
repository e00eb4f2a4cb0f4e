"""Calibrate five sites at once, through the land surface model's own derivatives."""

import dataclasses

from mdpl.calibration import CalibrationProgress, calibrate
from mdpl.config import Config
from mdpl.data import five_crops_synthetic
from mdpl.towers.load import find_site_files, load_towers

# Five synthetic croplands: half-hourly weather and noisy fluxes. Made on first use (about a minute), then kept.
towers = load_towers(find_site_files(five_crops_synthetic()))

# 16 May to 14 June 2001 only, so that little but compiling takes time. Leave these lines out for the whole record.
FIRST, DAYS = 135, 30
towers = [dataclasses.replace(t, forcing=t.forcing.window(48 * FIRST, 48 * (FIRST + DAYS))) for t in towers]

config = Config(
    output="runs/tutorial_five_sites",
    # Small sizes again: the default is all plant parameters, more epochs, three years of spin-up and learner="network",
    # one generator g_z for all sites. "direct" moves each site's parameters for themselves.
    learner="direct",
    parameters=("ball_berry_slope", "soil_evaporation_a1"),
    window_days=DAYS,
    epochs=5,
    refresh_every=1,
    spinup_years=1,
    gradient="forward",  # two unknowns per site: two tangents beside the run, no reverse mode to compile
)

# All sites run side by side; the scores come from the model run again over the whole stretch.
calibration = calibrate(
    config,
    towers=towers,
    progress=CalibrationProgress(
        stage=print, epoch=lambda epoch, epochs, losses: print(f"epoch {epoch} of {epochs}: {losses}")
    ),
    overwrite=True,
)

print(f"\n{'site':12}{'parameter':32}{'default':>9}{'calibrated':>12}")
for row in calibration.parameters:
    print(f"{row.site:12}{row.name:32}{row.default:9.2f}{row.calibrated:12.2f}")

print(f"\n{'site':12}{'flux':6}{'period':8}{'stage':12}{'RMSE, W m-2':>12}")
for row in calibration.metrics:
    if row.flux in ("Qle", "Qh"):
        print(f"{row.site:12}{row.flux:6}{row.period:8}{row.stage:12}{row.rmse:12.1f}")

print(f"\nTables, figures and report.html: {calibration.directory}")
