// The grid of answers. Tiles that stay are moved, not made anew, so nothing flickers while somebody draws.
import { show } from "./thumbs.js";

/** An element with text; whatever is in the text is shown, never run. */
export function element(name, text = "", className = "") {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** A row of a list that is a button of these parts. */
export function choice(clicked, ...parts) {
  const [row, button] = [element("li"), element("button")];
  button.type = "button";
  button.append(...parts);
  button.addEventListener("click", clicked);
  row.append(button);
  return row;
}

const GLANCE = 6;

export const shown = (score) => score.toFixed(3);

export class Hits {
  #tiles = new Map();
  list = [];
  seen = new Set(); // classes that the model was trained on

  /** `peek` has the first of them once more, under the pad of a small screen, where the grid is out of sight.
   * `chosen(place)` is called with the place of a tile that was clicked. */
  constructor(root, peek, chosen) {
    Object.assign(this, { root, peek, chosen });
  }

  show(hits) {
    const tiles = new Map();
    for (const hit of hits) tiles.set(hit.id, this.#tiles.get(hit.id) ?? this.#make(hit));
    this.list = hits;
    hits.forEach((hit, place) => {
      const tile = tiles.get(hit.id);
      this.#fill(tile, hit, place);
      if (this.root.children[place] !== tile) this.root.insertBefore(tile, this.root.children[place] ?? null);
    });
    while (this.root.children.length > hits.length) this.root.lastChild.remove();
    this.#tiles = tiles;
    this.stale(false);
    this.#glance(hits.slice(0, GLANCE));
  }

  /** Whether the photos are those of an earlier drawing. */
  stale(so) {
    for (const list of [this.root, this.peek]) list.classList.toggle("stale", so);
  }

  #glance(hits) {
    while (this.peek.children.length > hits.length) this.peek.lastChild.remove();
    hits.forEach((hit, place) => {
      if (!this.peek.children[place]) {
        const row = choice(() => this.chosen(place), element("img"));
        row.firstChild.tabIndex = -1; // the grid has them for keyboard and screen reader
        row.firstChild.firstChild.alt = "";
        this.peek.append(row);
      }
      show(this.peek.children[place].querySelector("img"), hit.photo, 128);
    });
  }

  #make(hit) {
    const [frame, img] = [element("span", "", "frame"), element("img")];
    img.alt = "";
    frame.append(img);
    const parts = [frame, element("span", "", "label"), element("span", "", "score")];
    const tile = choice(() => this.chosen(Number(tile.dataset.place)), ...parts);
    show(img, hit.photo, 256);
    return tile;
  }

  #fill(tile, hit, place) {
    tile.dataset.place = place;
    const [frame, label, score] = tile.firstChild.children;
    label.textContent = hit.label || hit.id;
    label.title = hit.id;
    score.textContent = shown(hit.score);
    score.title = "cosine similarity";
    frame.classList.toggle("new-class", this.isUnseen(hit.label));
    frame.title = this.isUnseen(hit.label) ? "No training image showed this class" : "";
    const note = this.isUnseen(hit.label) ? ", a class never trained on" : "";
    tile.firstChild.setAttribute("aria-label", `${place + 1}: ${hit.label || hit.id}, ${shown(hit.score)}${note}`);
  }

  isUnseen(label) {
    return this.seen.size > 0 && Boolean(label) && !this.seen.has(label);
  }
}
