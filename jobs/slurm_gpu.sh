#!/usr/bin/env bash
# A sweep as a Slurm array, a GPU for each task. (`mdpl sweep --slurm` does the same and needs no script.)
#
#   sbatch --array=0-11 jobs/slurm_gpu.sh sweep.toml     # twelve tasks: mdpl sweep sweep.toml --list | wc -l
#
# Submit it again after a failure: what is done is not done again, what was begun goes on.
#SBATCH --job-name=mdpl-sweep
#SBATCH --gpus=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G
#SBATCH --time=04:00:00
#SBATCH --output=%x-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=TERM@120
set -euo pipefail
sweep=${1:?use sbatch --array=0-N $0 SWEEP.toml [options of mdpl sweep]}
shift
# shellcheck source=/dev/null
source "${MDPL_ENVIRONMENT:-.venv}/bin/activate"

code=0
srun mdpl sweep "$sweep" "$@" --task auto || code=$?
# 143: the signal before the time limit; a checkpoint is saved, and the same job goes on from it
if [ "$code" = 143 ]; then scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"; fi
exit "$code"
