#!/usr/bin/env bash
#SBATCH --job-name=prepare
#SBATCH --array=1-16
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=12:00:00
#SBATCH --requeue
#
# Any preparation as a SLURM array: each task does its share, the last one to end writes the result.
#
#   sbatch scripts/slurm/prepare_array.sh <job> prepare.root=<input> prepare.output=<folder> [prepare.key=value ...]
#
#   sbatch scripts/slurm/prepare_array.sh index  prepare.root=/data/k400 prepare.output=/data/k400_index
#   sbatch --array=1-64 scripts/slurm/prepare_array.sh shards prepare.root=/data/k400 prepare.output=/data/k400_shards prepare.flow=dis
#   sbatch --array=1-4 --gpus=1 scripts/slurm/prepare_array.sh flow prepare.root=/data/frames prepare.output=/data/flow prepare.flow=raft_large
#
# A task that is cut off, or submitted again, does what is missing. The array must begin at 1 with
# step 1, its length may differ from one submission to the next. Without SLURM it does everything.
set -euo pipefail
[ $# -ge 3 ] || { sed -n '9,18s/^# \{0,1\}//p' "$0"; exit 2; }
job=$1
shift
exec python -m selfsup_motion.prepare prepare="$job" \
  prepare.shard="${SLURM_ARRAY_TASK_ID:-1}/${SLURM_ARRAY_TASK_COUNT:-1}" \
  prepare.num_workers="${SLURM_CPUS_PER_TASK:-$(nproc)}" "$@"
