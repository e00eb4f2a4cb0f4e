"""Your own tower in ten lines: a table of half hours becomes a calibrated site."""

from pathlib import Path

import pandas
import xarray as xr

from mdpl.calibration import calibrate
from mdpl.config import Config
from mdpl.data import five_crops_synthetic

# A stand-in for your spreadsheet: thirty days of a synthetic tower, one row per half hour. The time is local standard
# time and marks the start of the half hour; gaps in the fluxes are empty, the weather has none.
WEATHER = ["Tair", "Qair", "Psurf", "SWdown", "LWdown", "Wind", "Precip", "LAI"]  # K, kg/kg, Pa, W m-2, m/s, kg m-2 s-1
made_up = [xr.open_dataset(path) for path in five_crops_synthetic().glob("DE-Geb-syn*_[MF]*.nc")]  # Met and Flux
made_up = xr.merge([part.squeeze(drop=True) for part in made_up], compat="override")
made_up.sel(time=slice("2001-05-16", "2001-06-14"))[[*WEATHER, "Qle", "Qh"]].to_dataframe().to_csv("my_tower.csv")

# Ten lines from here to the run directory.
table = xr.Dataset.from_dataframe(pandas.read_csv("my_tower.csv", index_col="time", parse_dates=True))
place = {"latitude": 51.1, "longitude": 10.91, "elevation": 161.5, "reference_height": 6.0, "IGBP_veg_short": "CRO"}
met = table[WEATHER].assign(place).assign_attrs(site_code="XX-Own", utc_offset_hours=1.0)
Path("my_tower").mkdir(exist_ok=True)
met.to_netcdf("my_tower/XX-Own_Met.nc")
table[["Qle", "Qh"]].to_netcdf("my_tower/XX-Own_Flux.nc")
plants = ("vcmax25", "ball_berry_slope")  # leave this out for all plant parameters
sizes = {"window_days": 30, "epochs": 5, "spinup_years": 1}  # leave these out for a record of years
config = Config(data="my_tower", output="runs/XX-Own", parameters=plants, learner="direct", **sizes)
calibration = calibrate(config, overwrite=True)

print(*calibration.notes, sep="\n")
for row in calibration.parameters:
    print(f"{row.site} {row.name}: {row.default:.2f} -> {row.calibrated:.2f}")
for row in calibration.metrics:
    print(f"{row.flux} {row.period} {row.stage}: RMSE {row.rmse:.1f} W m-2, R {row.r:.2f}")
