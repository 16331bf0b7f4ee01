#!/usr/bin/env bash
# YFCC frames (or any folders of frames): store the flow of neighbouring frames and list the pairs.
#
#   scripts/prepare_yfcc.sh <folder> [prepare.key=value ...]
#
#   scripts/prepare_yfcc.sh /data/yfcc        # reads /data/yfcc/UnsupVideo_Frames, writes /data/yfcc/flow
#   sbatch --array=1-64 --wrap 'scripts/prepare_yfcc.sh /data/yfcc'
#
# This takes the place of the flow that CMP was published with (29 GB, no longer to be had). As a
# SLURM array job each task does its share, and the last one to end writes the list. Training:
#   python -m selfsup_motion.train experiment=cmp data=yfcc data.root=/data/yfcc data.lists=[flow/pairs.txt]
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2; }
folder=$1
shift
exec python -m selfsup_motion.prepare prepare=flow \
  prepare.root="$folder/UnsupVideo_Frames" prepare.output="$folder/flow" \
  prepare.shard="${SLURM_ARRAY_TASK_ID:-1}/${SLURM_ARRAY_TASK_COUNT:-1}" \
  prepare.num_workers="${SLURM_CPUS_PER_TASK:-$(nproc)}" "$@"
