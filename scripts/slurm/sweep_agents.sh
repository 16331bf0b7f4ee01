#!/usr/bin/env bash
# Agents of a wandb sweep as a SLURM array: each task trains one proposal after the other on one GPU.
#
#   wandb sweep conf/sweep/cmp.yaml        prints the sweep's name
#   sbatch --array=1-8 scripts/slurm/sweep_agents.sh entity/project/sweep
#SBATCH --job-name=sweep
#SBATCH --ntasks=1
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --time=08:00:00
set -euo pipefail
if [ $# -eq 0 ]; then
  awk 'NR > 1 { if (!/^#( |$)/) exit; sub(/^# ?/, ""); print }' "$0"
  exit 2
fi
# or Lightning takes the agent's runs for tasks that srun has started
unset SLURM_NTASKS
exec wandb agent --forward-signals "$@"
