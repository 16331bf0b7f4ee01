#!/usr/bin/env bash
# Kinetics-400/600/700: index the videos, then (optionally) pack them into tar shards.
#
#   scripts/prepare_kinetics.sh <folder of videos> <output folder> [shards] [prepare.key=value ...]
#
#   scripts/prepare_kinetics.sh /data/k400/train /data/k400/index            # index and bad_files.csv
#   scripts/prepare_kinetics.sh /data/k400/train /data/k400/shards shards    # 256 px JPEGs at 15 fps, with flow
#   sbatch --array=1-64 --wrap 'scripts/prepare_kinetics.sh /data/k400/train /data/k400/shards shards'
#
# As a SLURM array job each task does its share, and the last one to end writes the result. Training:
#   python -m selfsup_motion.train experiment=cmp data=kinetics data.root=/data/k400/train data.index=/data/k400/index
#   python -m selfsup_motion.train experiment=cmp data=shards data.root=/data/k400/shards
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 2; }
root=$1 output=$2
shift 2
job=(prepare=index)
if [ "${1:-}" = shards ]; then
  shift
  job=(prepare=shards prepare.short_side=256 prepare.fps=15 prepare.flow=dis)
fi
exec python -m selfsup_motion.prepare "${job[@]}" prepare.root="$root" prepare.output="$output" \
  prepare.shard="${SLURM_ARRAY_TASK_ID:-1}/${SLURM_ARRAY_TASK_COUNT:-1}" \
  prepare.num_workers="${SLURM_CPUS_PER_TASK:-$(nproc)}" "$@"
