// Drawings to start from. A chosen one is drawn before one's eyes, stroke by stroke, and can be drawn on.
import { toCanvas } from "./drawing.js";
import { EXAMPLES } from "./examples.js";
import { choice } from "./hits.js";

const DURATION = 700; // ms
const WIDTH = 14;

function strokesOf(rows) {
  return rows.map((row) => {
    const points = [];
    for (let i = 0; i < row.length; i += 2) points.push(row[i] + (points.at(-3) ?? 0), row[i + 1] + (points.at(-2) ?? 0), 0.5);
    return { width: WIDTH, erase: false, points };
  });
}

/** `draw(strokes, partial)` puts strokes on the paper; partial ones are only shown. */
export function offerExamples(root, draw) {
  let playing = 0;
  for (const [name, rows] of EXAMPLES) {
    const strokes = strokesOf(rows);
    const small = toCanvas(strokes.map((stroke) => ({ ...stroke, width: 30 })), 112);
    small.setAttribute("aria-hidden", "true");
    const row = choice(() => {
      const turn = ++playing;
      if (matchMedia("(prefers-reduced-motion: reduce)").matches) return draw(strokes, false);
      const total = strokes.reduce((sum, stroke) => sum + stroke.points.length, 0);
      const start = performance.now();
      const frame = (now) => {
        if (turn !== playing) return;
        const share = (now - start) / DURATION;
        if (share >= 1) draw(strokes, false);
        else {
          draw(upTo(strokes, share * total), true);
          requestAnimationFrame(frame);
        }
      };
      return requestAnimationFrame(frame);
    }, small);
    row.firstChild.setAttribute("aria-label", `Example: ${name}`);
    row.firstChild.title = name;
    root.append(row);
  }
}

function upTo(strokes, left) {
  const shown = [];
  for (const stroke of strokes) {
    if (left <= 0) break;
    shown.push({ ...stroke, points: stroke.points.slice(0, Math.max(3, Math.floor(left / 3) * 3)) });
    left -= stroke.points.length;
  }
  return shown;
}
