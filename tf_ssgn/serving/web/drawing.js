// What is on the paper: strokes and pictures, never changed in place, so that undo is a step back in a list of states.
export const SIDE = 1000; // the paper's side; all coordinates and widths are in these units
const STATES = 200;

/** A stroke: {width, erase, points: [x, y, pressure, ...]}; a picture: {image}, as large as the paper. */
export class Drawing {
  #states = [[]];
  #at = 0;

  get items() { return this.#states[this.#at]; }
  get blank() { return !this.items.some((item) => item.image || !item.erase); }
  get strokes() { return this.items.filter((item) => !item.image); }
  get hasPicture() { return this.items.some((item) => item.image); }
  get canUndo() { return this.#at > 0; }
  get canRedo() { return this.#at + 1 < this.#states.length; }

  replace(items) {
    this.#states = [...this.#states.slice(0, this.#at + 1), items].slice(-STATES);
    this.#at = this.#states.length - 1;
  }
  add(item) { this.replace([...this.items, item]); }
  /** Puts another thing in the place of the last one, without a step to undo. */
  amend(item) { this.#states[this.#at] = [...this.items.slice(0, -1), item]; }
  undo() { if (this.canUndo) this.#at -= 1; }
  redo() { if (this.canRedo) this.#at += 1; }
}

/** The width of the line at a pressure; a mouse has 0.5. */
const widthAt = (stroke, pressure) => stroke.width * (0.4 + 1.2 * pressure);

/** `width` in place of the stroke's own, whatever the pressure. */
export function drawStroke(context, stroke, from = 0, width = null, ink = "#111") {
  const points = stroke.points;
  const wide = (pressure) => width ?? widthAt(stroke, pressure);
  context.strokeStyle = stroke.erase ? "#fff" : ink;
  context.fillStyle = context.strokeStyle;
  context.lineCap = context.lineJoin = "round";
  if (points.length === 3) {
    context.beginPath();
    context.arc(points[0], points[1], wide(points[2]) / 2, 0, 7);
    context.fill();
  }
  for (let i = Math.max(from, 3); i < points.length; i += 3) { // each piece has the width of its own pressure
    context.lineWidth = wide(points[i + 2]);
    context.beginPath();
    context.moveTo(points[i - 3], points[i - 2]);
    context.lineTo(points[i], points[i + 1]);
    context.stroke();
  }
}

/** The context of a new canvas, white all over. */
export function paper(width, height = width, options = {}) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d", options);
  whiten(context);
  return context;
}

function whiten(context) {
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.fillStyle = "#fff";
  context.fillRect(0, 0, context.canvas.width, context.canvas.height);
}

/** Draws everything on white; the context's canvas is square. */
export function render(context, items) {
  whiten(context);
  const side = context.canvas.width;
  context.setTransform(side / SIDE, 0, 0, side / SIDE, 0, 0);
  for (const item of items) {
    if (item.image) context.drawImage(item.image, 0, 0, SIDE, SIDE);
    else drawStroke(context, item);
  }
}

export function toCanvas(items, side) {
  const context = paper(side);
  render(context, items);
  return context.canvas;
}

/** Strokes as the model likes them best, whatever they look like on the screen: thin black lines without pressure that
 * fill `{size, line_width, padding}` in pixels; the same as `render` in tf_ssgn/data/strokes/raster.py. What was rubbed out
 * does not count for the size. */
export function asQuery(strokes, raster) {
  const context = paper(raster.size);
  const [left, top, right, bottom] = extent(strokes);
  const scale = (raster.size - 2 * raster.padding) / (Math.max(right - left, bottom - top) || 1);
  context.setTransform(scale, 0, 0, scale, raster.size / 2 - scale * (left + right) / 2, raster.size / 2 - scale * (top + bottom) / 2);
  for (const stroke of strokes) drawStroke(context, stroke, 0, stroke.erase ? null : raster.line_width / scale, "#000");
  return context.canvas;
}

/** Left, top, right and bottom of the lines that are left. */
function extent(strokes) {
  const kept = strokes.filter((stroke) => !stroke.erase);
  if (kept.length < strokes.length) {
    const inked = inkOf(toCanvas(strokes, INK_SIDE));
    if (inked) return inked;
  }
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  for (const { points } of kept) {
    for (let i = 0; i < points.length; i += 3) {
      box[0] = Math.min(box[0], points[i]);
      box[1] = Math.min(box[1], points[i + 1]);
      box[2] = Math.max(box[2], points[i]);
      box[3] = Math.max(box[3], points[i + 1]);
    }
  }
  return box[0] === Infinity ? [0, 0, SIDE, SIDE] : box;
}

const INK_SIDE = 250; // pixels that rubbed-out drawings are looked at with

/** The box around what is dark on a canvas, in units of the paper; null where nothing is. */
function inkOf(canvas) {
  const side = canvas.width;
  const { data } = canvas.getContext("2d").getImageData(0, 0, side, side);
  const box = [side, side, -1, -1];
  for (let place = 0; place < side * side; place += 1) {
    if (data[4 * place] > 127) continue;
    const [x, y] = [place % side, Math.floor(place / side)];
    box[0] = Math.min(box[0], x);
    box[1] = Math.min(box[1], y);
    box[2] = Math.max(box[2], x + 1);
    box[3] = Math.max(box[3], y + 1);
  }
  return box[2] < 0 ? null : box.map((value) => value * SIDE / side);
}

/** The drawing as SVG text. Pictures are left out: they are no lines. */
export function toSvg(strokes) {
  const parts = [`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${SIDE} ${SIDE}">`,
    `<rect width="${SIDE}" height="${SIDE}" fill="#fff"/>`,
    '<g fill="none" stroke-linecap="round" stroke-linejoin="round">'];
  for (const stroke of strokes) {
    const { points } = stroke;
    let path = `M${points[0]} ${points[1]}`;
    let pressure = points[2] * (points.length === 3);
    for (let i = 3; i < points.length; i += 3) {
      path += `L${points[i]} ${points[i + 1]}`;
      pressure += points[i + 2] / (points.length / 3 - 1);
    }
    if (points.length === 3) path += "h0";
    const width = widthAt(stroke, pressure).toFixed(1); // SVG has no pressure; the line gets the mean one
    parts.push(`<path d="${path}" stroke="${stroke.erase ? "#fff" : "#111"}" stroke-width="${width}"/>`);
  }
  return [...parts, "</g></svg>\n"].join("\n");
}
