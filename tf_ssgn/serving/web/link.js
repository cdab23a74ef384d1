// The shareable address of a query, all of it after the #, which browsers send to no server: s= the strokes, compressed;
// w= the word beside it; p= the id of a photo; k= and f= what is asked for beside it.
import { SIDE } from "./drawing.js";

const LONGEST = 12_000; // characters of the strokes; longer addresses get lost in mail and chat
const UNPACKED = 500_000; // bytes; what a stranger's link may unfold to
const STROKES = 2_000;
const POINTS = 60_000;

/** The query that the page's address holds. */
export class Address {
  #kept = "";

  /** Puts a query there; `step` makes it one for the Back button. */
  async keep(query, step) {
    const hash = await toHash(query);
    if (hash === this.#kept) return;
    this.#kept = hash ?? "";
    const url = this.#kept ? `#${this.#kept}` : location.pathname;
    if (step) history.pushState(null, "", url);
    else history.replaceState(null, "", url);
  }

  /** The query that somebody put there; null where it is the one that was kept. */
  async read() {
    const hash = location.hash.slice(1);
    if (hash === this.#kept) return null;
    this.#kept = hash;
    return fromHash(hash);
  }
}

/** The part after #; "" where there is nothing to share, null where it would be too long. */
async function toHash({ strokes, word, photo, k, filters }) {
  const parts = [];
  if (photo) parts.push(`p=${encodeURIComponent(photo)}`);
  else if (strokes.length) {
    const text = await pack(strokes);
    if (text.length > LONGEST) return null;
    parts.push(`s=${text}`);
  }
  if (word && !photo) parts.push(`w=${encodeURIComponent(word)}`);
  if (k) parts.push(`k=${k}`);
  if (Object.keys(filters).length) parts.push(`f=${encodeURIComponent(JSON.stringify(filters))}`);
  return parts.join("&");
}

/** The inverse; what is missing or damaged is left out. */
async function fromHash(hash) {
  const found = { strokes: [], word: "", photo: "", k: 0, filters: {} };
  for (const part of hash.replace(/^#/, "").split("&")) {
    const [name, value = ""] = part.split("=", 2);
    try {
      if (name === "s" && value.length <= LONGEST) found.strokes = checked(await unpack(value));
      if (name === "p") found.photo = decodeURIComponent(value).slice(0, 4096);
      if (name === "w") found.word = decodeURIComponent(value).slice(0, 64);
      if (name === "k") found.k = Math.max(0, Number.parseInt(value, 10) || 0);
      if (name === "f") found.filters = plain(JSON.parse(decodeURIComponent(value)));
    } catch { /* somebody cut the link short */ }
  }
  return found;
}

async function pack(strokes) {
  const rows = strokes.map(({ width, erase, points }) => {
    const row = [erase ? 1 : 0, width];
    for (let i = 0; i < points.length; i += 3) { // steps instead of places: smaller numbers, which compress better
      row.push(points[i] - (points[i - 3] ?? 0), points[i + 1] - (points[i - 2] ?? 0), Math.round(points[i + 2] * 100));
    }
    return row;
  });
  const stream = new Blob([JSON.stringify(rows)]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  const parts = [];
  let size = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    size += part.value.length;
    if (size > UNPACKED) {
      await reader.cancel();
      throw new Error("too large");
    }
    parts.push(part.value);
  }
  return JSON.parse(await new Blob(parts).text());
}

function checked(rows) {
  let left = POINTS;
  return rows.slice(0, STROKES).map((row) => {
    const [erase, width, ...steps] = row.map((value) => (Number.isFinite(value) ? value : 0));
    const points = [];
    for (let i = 0; i + 2 < steps.length && left > 0; i += 3, left -= 1) {
      const x = steps[i] + (points[i - 3] ?? 0);
      const y = steps[i + 1] + (points[i - 2] ?? 0);
      points.push(clip(x, SIDE), clip(y, SIDE), clip(steps[i + 2] / 100, 1));
    }
    return { erase: erase === 1, width: Math.max(1, clip(width, 200)), points };
  }).filter((stroke) => stroke.points.length);
}

const clip = (value, most) => Math.min(most, Math.max(0, value));

function plain(filters) {
  const entries = Object.entries(filters).filter(([, value]) => ["string", "number"].includes(typeof value));
  return Object.fromEntries(entries.slice(0, 8));
}
