#!/usr/bin/env bash
# Train with torchrun on the GPUs of one machine, or of several.
#
#   GPUS=8 scripts/torchrun_train.sh experiment=cmp data=videos data.root=/path/to/videos
#   NODES=2 NODE=0 HOST=first.machine GPUS=8 scripts/torchrun_train.sh experiment=cmp ...
#   NODES=2 NODE=1 HOST=first.machine GPUS=8 scripts/torchrun_train.sh experiment=cmp ...
set -euo pipefail
if [ $# -eq 0 ]; then
  awk 'NR > 1 { if (!/^#( |$)/) exit; sub(/^# ?/, ""); print }' "$0"
  exit 2
fi
gpus="${GPUS:-1}"
nodes="${NODES:-1}"
exec torchrun --nproc-per-node="$gpus" --nnodes="$nodes" --node-rank="${NODE:-0}" \
  --master-addr="${HOST:-127.0.0.1}" --master-port="${PORT:-29500}" \
  -m selfsup_motion.train trainer=ddp "trainer.devices=$gpus" "trainer.num_nodes=$nodes" "$@"
