#!/usr/bin/env bash
# Trains the models that come with the package again: make weights CLIPS=/folder PHOTOS=/folder
#
#   CLIPS   folder of videos; src/selfsup_motion/weights/shipped/cmp.md names those that were used
#   PHOTOS  folder of photos, likewise
#   OUTPUT  default outputs/weights; started again, everything goes on where it stopped
#   DAVIS   root of DAVIS-2017 to measure the result on; optional
#   STEPS   default: those of experiment=cmp_photos
set -euo pipefail

if [[ -z "${CLIPS:-}" || -z "${PHOTOS:-}" ]]; then
  echo 'Which data? make weights CLIPS=/folder/of/videos PHOTOS=/folder/of/photos' >&2
  exit 2
fi
PYTHON=${PYTHON:-python}
OUTPUT=${OUTPUT:-outputs/weights}
RUN=$OUTPUT/cmp

"$PYTHON" -m selfsup_motion.prepare prepare=cutouts \
  prepare.root="$CLIPS" prepare.output="$OUTPUT/cutouts" prepare.per_video=90
"$PYTHON" -m selfsup_motion.train experiment=cmp_photos trainer=cpu \
  data.cutouts="$OUTPUT/cutouts" data.textures="$PHOTOS" data.num_workers=1 \
  callbacks.checkpoint.every_n_train_steps=250 ${STEPS:+trainer.max_steps=$STEPS} \
  paths.output_dir="$RUN" resume=auto
# what an earlier start packed is replaced once the run has gone on
if [[ ! "$OUTPUT/cmp.safetensors" -nt "$RUN/checkpoints/last.ckpt" ]]; then
  rm -f "$OUTPUT/cmp.safetensors"
  "$PYTHON" -m selfsup_motion.weights pack "$RUN/checkpoints/last.ckpt" "$OUTPUT/cmp.safetensors"
fi
if [[ -n "${DAVIS:-}" ]]; then
  "$PYTHON" -m selfsup_motion.evaluate task=arrow_answers data.root="$DAVIS" \
    checkpoint="$OUTPUT/cmp.safetensors" paths.output_dir="$OUTPUT/arrow_answers"
fi
