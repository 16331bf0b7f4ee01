#!/usr/bin/env bash
# OxUvA (or any long videos): extract the frames, a folder per video.
#
#   scripts/prepare_oxuva.sh <folder of videos> <output folder> [prepare.key=value ...]
#
#   scripts/prepare_oxuva.sh /data/oxuva/videos /data/oxuva/frames prepare.fps=10
#   sbatch --array=1-64 --wrap 'scripts/prepare_oxuva.sh /data/oxuva/videos /data/oxuva/frames'
#
# OxUvA's own download is frames already: train on those as they are. As a SLURM array job each task
# does its share, and the last one to end writes the list. Training:
#   python -m selfsup_motion.train experiment=cmp data=oxuva data.root=/data/oxuva/frames data.lists=[frames.csv]
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2; }
root=$1 output=$2
shift 2
exec python -m selfsup_motion.prepare prepare=frames prepare.short_side=256 \
  prepare.root="$root" prepare.output="$output" \
  prepare.shard="${SLURM_ARRAY_TASK_ID:-1}/${SLURM_ARRAY_TASK_COUNT:-1}" \
  prepare.num_workers="${SLURM_CPUS_PER_TASK:-$(nproc)}" "$@"
