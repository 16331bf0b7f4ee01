#!/usr/bin/env bash
# Trains the models that come with the package again: make weights CLIPS=/folder PHOTOS=/folder
#
#   CLIPS   folder of videos; the cards in src/selfsup_motion/weights/shipped name those that were used
#   PHOTOS  folder of photos, likewise
#   MODELS  default "cmp cmp_dense correspondence mosi"
#   OUTPUT  default outputs/weights; started again, everything goes on where it stopped
#   DAVIS   root of DAVIS-2017 to measure cmp and correspondence on; optional
#   FLOW    folder of flow with truth to measure cmp_dense on; optional
#   STEPS   default: those of the experiments
#   SEED    default: that of the recipes, 0
#   ARGS    more settings of the trainings, e.g. trainer.precision=bf16-mixed
set -euo pipefail

if [[ -z "${CLIPS:-}" || -z "${PHOTOS:-}" ]]; then
  echo 'Which data? make weights CLIPS=/folder/of/videos PHOTOS=/folder/of/photos' >&2
  exit 2
fi
PYTHON=${PYTHON:-python}
OUTPUT=${OUTPUT:-outputs/weights}
MODELS=${MODELS:-cmp cmp_dense correspondence mosi}

# trained NAME KEY=VALUE...: goes on with the run of this name, then packs its weights
trained() {
  local name=$1
  shift
  # shellcheck disable=SC2086 # several words
  "$PYTHON" -m selfsup_motion.train "$@" trainer=cpu ${STEPS:+trainer.max_steps=$STEPS} \
    ${SEED:+seed=$SEED} ${ARGS:-} \
    paths.output_dir="$OUTPUT/$name" resume=auto
  # what an earlier start packed and measured is replaced once the run has gone on
  local last=$OUTPUT/$name/checkpoints/last.ckpt file=$OUTPUT/$name.safetensors
  if [[ ! "$file" -nt "$last" ]]; then
    rm -rf "$file" "$OUTPUT/measured/$name"
    "$PYTHON" -m selfsup_motion.weights pack "$last" "$file"
  fi
}

# measured NAME KEY=VALUE...: what the packed model can do, unless it is known
measured() {
  local name=$1 folder=$OUTPUT/measured/$1
  shift
  if [[ -e $folder/summary.json ]]; then
    echo "measured $folder/summary.json"
    return
  fi
  local where=paths.output_dir=$folder
  if [[ -e $folder/config.yaml ]]; then where=resume=$folder; fi
  "$PYTHON" -m selfsup_motion.evaluate "$@" checkpoint="$OUTPUT/$name.safetensors" "$where"
}

cut_out() {
  "$PYTHON" -m selfsup_motion.prepare prepare=cutouts \
    prepare.root="$CLIPS" prepare.output="$OUTPUT/cutouts" prepare.per_video=90
}

for model in $MODELS; do
  case $model in
    cmp)
      cut_out
      trained cmp experiment=cmp_photos \
        data.cutouts="$OUTPUT/cutouts" data.textures="$PHOTOS" \
        data.num_workers=1 callbacks.checkpoint.every_n_train_steps=250
      if [[ -n "${DAVIS:-}" ]]; then measured cmp task=arrow_answers data.root="$DAVIS"; fi
      ;;
    cmp_dense)
      cut_out
      trained cmp_dense experiment=cmp_dense \
        data.cutouts="$OUTPUT/cutouts" data.textures="$PHOTOS" \
        data.num_workers=0 callbacks.checkpoint.every_n_train_steps=100
      if [[ -n "${FLOW:-}" ]]; then measured cmp_dense task=flow_hints data.root="$FLOW"; fi
      ;;
    correspondence)
      "$PYTHON" -m selfsup_motion.prepare prepare=frames \
        prepare.root="$CLIPS" prepare.output="$OUTPUT/frames" prepare.fps=12
      trained correspondence experiment=dense_ulearn_videos data.root="$OUTPUT/frames" \
        data.num_workers=1 callbacks.checkpoint.every_n_train_steps=250
      if [[ -n "${DAVIS:-}" ]]; then measured correspondence task=davis2017 data.root="$DAVIS"; fi
      ;;
    mosi)
      trained mosi experiment=mosi data=images data.root="$PHOTOS" \
        trainer.max_steps=1200 data.num_workers=1 callbacks.checkpoint.every_n_train_steps=200
      measured mosi task=toy_actions
      ;;
    *)
      echo "MODELS=$model: choose among cmp, cmp_dense, correspondence and mosi." >&2
      exit 2
      ;;
  esac
done
