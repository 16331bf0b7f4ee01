// The motion of every pixel over a photo: colours, and arrows on a grid.

const SIDE = 1024;

/**
 * Draw a motion on a canvas.
 * `image` has its colours as an <img>; `motion.grid` is [[x, y, dx, dy], …] in pixels of the photo.
 */
export async function drawFlow(canvas, image, motion, { width, height }) {
  const scale = SIDE / Math.max(width, height);
  await image.decode().catch(() => {});
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  context.globalAlpha = 0.55;
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  context.globalAlpha = 1;
  for (const [style, line] of [["rgb(255 255 255 / .8)", 4], ["#222", 1.6]]) {
    context.strokeStyle = context.fillStyle = style;
    context.lineWidth = line;
    for (const [x, y, dx, dy] of motion.grid) arrow(context, (x + 0.5) * scale, (y + 0.5) * scale, dx * scale, dy * scale);
  }
}

function arrow(context, x, y, dx, dy) {
  const angle = Math.atan2(dy, dx), head = Math.min(9, 2 + Math.hypot(dx, dy) / 3);
  context.beginPath();
  context.moveTo(x, y);
  context.lineTo(x + dx, y + dy);
  for (const turn of [2.6, -2.6]) {
    context.moveTo(x + dx, y + dy);
    context.lineTo(x + dx + head * Math.cos(angle + turn), y + dy + head * Math.sin(angle + turn));
  }
  context.stroke();
}
