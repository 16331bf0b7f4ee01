#!/usr/bin/env bash
# Trains the models that come with the package again: make weights CLIPS=/folder PHOTOS=/folder
#
#   CLIPS   folder of videos; src/selfsup_motion/weights/shipped/cmp.md names those that were used
#   PHOTOS  folder of photos, likewise
#   OUTPUT  default outputs/weights; started again, everything goes on where it stopped
#   DAVIS   root of DAVIS-2017 to measure cmp on; optional
#   FLOW    folder of flow with truth to measure cmp_dense on; optional
#   STEPS   default: those of the experiments
set -euo pipefail

if [[ -z "${CLIPS:-}" || -z "${PHOTOS:-}" ]]; then
  echo 'Which data? make weights CLIPS=/folder/of/videos PHOTOS=/folder/of/photos' >&2
  exit 2
fi
PYTHON=${PYTHON:-python}
OUTPUT=${OUTPUT:-outputs/weights}

# trained NAME EXPERIMENT KEY=VALUE...: trains a model and packs it
trained() {
  local name=$1 experiment=$2
  shift 2
  "$PYTHON" -m selfsup_motion.train experiment="$experiment" trainer=cpu \
    data.cutouts="$OUTPUT/cutouts" data.textures="$PHOTOS" "$@" \
    ${STEPS:+trainer.max_steps=$STEPS} paths.output_dir="$OUTPUT/$name" resume=auto
  # what an earlier start packed is replaced once the run has gone on
  local last=$OUTPUT/$name/checkpoints/last.ckpt file=$OUTPUT/$name.safetensors
  if [[ ! "$file" -nt "$last" ]]; then
    rm -f "$file"
    "$PYTHON" -m selfsup_motion.weights pack "$last" "$file"
  fi
}

"$PYTHON" -m selfsup_motion.prepare prepare=cutouts \
  prepare.root="$CLIPS" prepare.output="$OUTPUT/cutouts" prepare.per_video=90
trained cmp cmp_photos data.num_workers=1 callbacks.checkpoint.every_n_train_steps=250
trained cmp_dense cmp_dense data.num_workers=0 callbacks.checkpoint.every_n_train_steps=100
if [[ -n "${DAVIS:-}" ]]; then
  "$PYTHON" -m selfsup_motion.evaluate task=arrow_answers data.root="$DAVIS" \
    checkpoint="$OUTPUT/cmp.safetensors" paths.output_dir="$OUTPUT/arrow_answers"
fi
if [[ -n "${FLOW:-}" ]]; then
  "$PYTHON" -m selfsup_motion.evaluate task=flow_hints data.root="$FLOW" \
    checkpoint="$OUTPUT/cmp_dense.safetensors" paths.output_dir="$OUTPUT/flow_hints"
fi
