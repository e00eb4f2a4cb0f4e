"""Differentiate the model directly: how does a season's evapotranspiration answer to vcmax25?"""

import jax
import jax.numpy as jnp

import jlsm
from mdpl.data import five_crops_synthetic
from mdpl.towers.load import find_site_files

# Five croplands side by side, 16 May to 14 June 2001: forcing [time, sites]. Any stretch will do, also a year.
files = find_site_files(five_crops_synthetic())
forcing, site = jlsm.stack_sites([jlsm.load_forcing(f.met, start="2001-05-16", stop="2001-06-15") for f in files])
params = jlsm.default_parameters(site)
state = jlsm.spin_up(params, forcing, site, years=1)  # the start state counts as given


def evapotranspiration(vcmax25):
    """Water lost by each site on each day, kg m-2 (mm), [days, sites]."""
    changed = jlsm.replace_parameters(params, {"vcmax25": vcmax25})
    out, _ = jlsm.simulate(changed, forcing, site, state, fields=("Evap",))
    return (out.Evap * forcing.dt).reshape(-1, 48, len(files)).sum(axis=1)


# Forward mode carries one tangent beside the run, and that one tangent holds the answer of every output at every time.
# The sites do not touch each other, so a tangent of ones gives each site its own derivative.
both = jax.jit(lambda vcmax25: jax.jvp(evapotranspiration, (vcmax25,), (jnp.ones_like(vcmax25),)))
water, slope = both(params.vegetation.vcmax25)

print("site          ET, mm   dET/dvcmax25, mm per umol m-2 s-1   1 % more vcmax25, % more ET")
for i, code in enumerate(site.code):
    total, change = float(water[:, i].sum()), float(slope[:, i].sum())
    elasticity = change * float(params.vegetation.vcmax25[i]) / total
    print(f"{code:12}{total:8.1f}{change:24.3f}{elasticity:32.2f}")

print("\nThe same derivative week by week, mm per umol m-2 s-1")
for week in range(0, water.shape[0] - 6, 7):
    weekly = slope[week : week + 7].sum(axis=0)
    print(f"day {week + 1:2}-{week + 7:2}   ", *(f"{value:7.3f}" for value in weekly))
