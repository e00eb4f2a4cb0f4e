#!/usr/bin/env bash
# A sweep as a PBS Professional (OpenPBS) array.
#
#   qsub -J 0-11 -v SWEEP=sweep.toml jobs/pbs_array.sh   # twelve tasks: mdpl sweep sweep.toml --list | wc -l
#
# A GPU for each task: add :ngpus=1 to the select line. Submit it again after a failure: what is done is not done again.
#PBS -N mdpl-sweep
#PBS -l select=1:ncpus=2:mem=4gb
#PBS -l walltime=04:00:00
#PBS -j oe
#PBS -r y
set -euo pipefail
cd "${PBS_O_WORKDIR:-.}"
# shellcheck source=/dev/null
source "${MDPL_ENVIRONMENT:-.venv}/bin/activate"
exec mdpl sweep "${SWEEP:?use qsub -J 0-N -v SWEEP=FILE $0}" --task auto
