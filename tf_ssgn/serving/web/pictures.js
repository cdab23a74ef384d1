// Pictures from outside: dropped, pasted or chosen. A drawing goes onto the paper, a photo is asked for as it is.
import { paper } from "./drawing.js";

const PAPER = 1024; // pixels of a picture on the paper
const LARGEST = 1024; // side of a photo that is sent
const COLOUR = 0.35; // saturation of a strong colour; paper in warm light has 0.25
const COLOURFUL = 0.15; // of the pixels
const DARKER = 0.86; // of its surroundings' mean: ink on a photographed sheet
const WINDOW = 1 / 12; // of the side: these surroundings

export async function decode(file) {
  if (!file.type.startsWith("image/")) throw new Error("That is no picture.");
  try {
    return await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new Error("This browser cannot read that picture.");
  }
}

/** The picture in the middle of white paper; as `ink`, where its own paper is not white, its lines alone. */
export function onPaper(bitmap, ink) {
  const context = paper(PAPER, PAPER, { willReadFrequently: true });
  const scale = PAPER / Math.max(bitmap.width, bitmap.height);
  const [width, height] = [bitmap.width * scale, bitmap.height * scale];
  const [left, top] = [Math.floor((PAPER - width) / 2), Math.floor((PAPER - height) / 2)];
  context.drawImage(bitmap, left, top, width, height);
  const box = [left, top, Math.ceil(width), Math.ceil(height)];
  if (!ink) return context.canvas;
  const pixels = context.getImageData(...box);
  if (!isClean(pixels)) context.putImageData(inked(pixels), left, top);
  return context.canvas;
}

/** Whether a picture has strong colours in a good part of it: a photo of the thing rather than of a drawing. */
export function isColourful(bitmap) {
  const context = paper(64, 64, { willReadFrequently: true });
  context.clearRect(0, 0, 64, 64); // transparent parts have no colour
  context.drawImage(bitmap, 0, 0, 64, 64);
  const { data } = context.getImageData(0, 0, 64, 64);
  let strong = 0;
  for (let i = 0; i < data.length; i += 4) {
    const [most, least] = [Math.max(data[i], data[i + 1], data[i + 2]), Math.min(data[i], data[i + 1], data[i + 2])];
    strong += most - least > COLOUR * most && data[i + 3] > 127;
  }
  return strong > COLOURFUL * (data.length / 4);
}

export function asPhoto(bitmap) {
  const scale = Math.min(1, LARGEST / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  const context = paper(width, height);
  context.drawImage(bitmap, 0, 0, width, height);
  return context.canvas;
}

const grey = (data, i) => 0.3 * data[i] + 0.59 * data[i + 1] + 0.11 * data[i + 2];

/** Whether most of a picture is white already: a scan, or a drawing made on a screen. */
function isClean({ data }) {
  let white = 0;
  for (let i = 0; i < data.length; i += 16) white += grey(data, i) > 240;
  return white > 0.6 * (data.length / 16);
}

/** Black where a pixel is darker than the mean around it, white elsewhere: shadows and the paper's colour go. */
function inked({ data, width, height }) {
  const row = width + 1;
  const sums = new Float64Array(row * (height + 1)); // of all pixels above and left of a place
  for (let y = 0; y < height; y += 1) {
    let line = 0;
    for (let x = 0; x < width; x += 1) {
      line += grey(data, 4 * (y * width + x));
      sums[(y + 1) * row + x + 1] = sums[y * row + x + 1] + line;
    }
  }
  const made = new ImageData(width, height);
  const reach = Math.max(4, Math.round(Math.max(width, height) * WINDOW / 2));
  for (let y = 0; y < height; y += 1) {
    const [top, bottom] = [Math.max(0, y - reach), Math.min(height, y + reach)];
    for (let x = 0; x < width; x += 1) {
      const [left, right] = [Math.max(0, x - reach), Math.min(width, x + reach)];
      const sum = sums[bottom * row + right] - sums[top * row + right] - sums[bottom * row + left] + sums[top * row + left];
      const i = 4 * (y * width + x);
      const ink = grey(data, i) < DARKER * (sum / ((bottom - top) * (right - left)));
      made.data[i] = made.data[i + 1] = made.data[i + 2] = ink ? 17 : 255;
      made.data[i + 3] = 255;
    }
  }
  return made;
}

/** Calls `given(files)` for pictures dropped onto `target` or pasted anywhere outside a text field. */
export function receive(target, given) {
  let inside = 0;
  const over = (by) => {
    inside = by ? inside + by : 0;
    target.classList.toggle("dropping", inside > 0);
  };
  const files = (event) => [...(event.dataTransfer ?? event.clipboardData)?.files ?? []];
  target.addEventListener("dragenter", (event) => { event.preventDefault(); over(1); });
  target.addEventListener("dragleave", () => over(-1));
  target.addEventListener("dragover", (event) => event.preventDefault());
  target.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    over(0);
    if (files(event).length) given(files(event));
  });
}

export function receivePasted(given) {
  document.addEventListener("paste", (event) => {
    const files = [...event.clipboardData?.files ?? []];
    if (files.length && !event.target.closest?.("input, textarea, dialog")) given(files);
  });
}
