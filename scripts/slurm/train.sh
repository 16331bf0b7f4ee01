#!/usr/bin/env bash
# Train on a SLURM cluster, a task per GPU. Preempted or out of time, the run saves, is queued again
# and goes on where it was.
#
#   sbatch scripts/slurm/train.sh experiment=cmp data=videos data.root=/path/to/videos
#   sbatch --nodes=2 --ntasks-per-node=8 --gpus-per-node=8 --time=12:00:00 \
#     scripts/slurm/train.sh experiment=paper/cmp_resnet50 data.root=/path/to/data
#SBATCH --job-name=selfsup_motion
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=USR1@120
set -euo pipefail
if [ $# -eq 0 ]; then
  awk 'NR > 1 { if (!/^#( |$)/) exit; sub(/^# ?/, ""); print }' "$0"
  exit 2
fi
exec srun --kill-on-bad-exit=1 python -m selfsup_motion.train trainer=ddp \
  "trainer.num_nodes=$SLURM_NNODES" "trainer.devices=$SLURM_NTASKS_PER_NODE" \
  "paths.output_dir=outputs/slurm/$SLURM_JOB_ID" resume=auto "$@"
