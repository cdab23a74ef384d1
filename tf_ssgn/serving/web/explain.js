// What the method does with the drawing: the classes it was read as, and both stages' answers side by side.
import { call } from "./api.js";
import { choice, element, shown } from "./hits.js";
import { show } from "./thumbs.js";

const CLASSES = 8;
const ANSWERS = 6;

export class Explanation {
  #running = null;

  /** `chosen(hits, place)` is called with the photos of a stage and the place of the one that was clicked. */
  constructor(root, failed, chosen) {
    Object.assign(this, { root, failed, chosen });
  }

  /** `best` is the class of the first answer; it is listed wherever it stands. */
  async show(body, isUnseen, best) {
    this.#running?.abort();
    const running = this.#running = new AbortController();
    try {
      const told = await call("POST", "/api/explain", { body: { ...body, k: ANSWERS }, signal: running.signal });
      if (running !== this.#running) return;
      this.root.querySelector("#explain-filtered").hidden = !body.columns;
      const places = told.classes.map((one, place) => ({ ...one, place }));
      const listed = places.slice(0, CLASSES);
      const first = places.find(({ name }) => name === best);
      if (first && first.place >= CLASSES) listed[CLASSES - 1] = first;
      this.#classes(listed, isUnseen, best);
      for (const stage of ["coarse", "fine"]) this.#answers(stage, told.answers?.[stage] ?? []);
      this.root.querySelector("#with-word").hidden = !body.word;
      this.#answers("told", told.answers?.word ?? []);
    } catch (error) {
      if (error.name !== "AbortError") this.failed(error);
    }
  }

  #classes(classes, isUnseen, first) {
    const best = Math.max(classes[0]?.score ?? 1, 1e-6);
    this.root.querySelector("#classes").replaceChildren(...classes.map(({ name, score, place }) => {
      const row = element("li");
      const bar = element("span", "", "share");
      bar.style.setProperty("--share", String(Math.max(0, score) / best));
      row.append(element("span", name), bar, element("span", score.toFixed(2), "score"));
      if (isUnseen(name)) row.firstChild.append(element("small", " unseen"));
      if (name === first) row.firstChild.append(element("small", ` first photo, place ${place + 1}`));
      return row;
    }));
  }

  #answers(stage, hits) {
    this.root.querySelector(`#${stage}`).replaceChildren(...hits.map((hit, place) => {
      const [img, label] = [element("img"), element("span", hit.label || hit.id)];
      img.alt = `${hit.label || hit.id}, ${shown(hit.score)}`;
      label.setAttribute("aria-hidden", "true"); // the picture's text says it
      const row = choice(() => this.chosen(hits, place), img, label);
      show(img, hit.photo, 128);
      return row;
    }));
  }
}
