// What the method does with the drawing: the classes it was read as, and both stages' answers side by side.
import { call } from "./api.js";
import { element, shown } from "./hits.js";
import { show } from "./thumbs.js";

const CLASSES = 8;
const ANSWERS = 6;

export class Explanation {
  #running = null;

  constructor(root, failed) {
    this.root = root;
    this.failed = failed;
  }

  async show(body, isUnseen) {
    this.#running?.abort();
    const running = this.#running = new AbortController();
    try {
      const told = await call("POST", "/api/explain", { body: { ...body, k: ANSWERS }, signal: running.signal });
      if (running !== this.#running) return;
      this.#classes(told.classes.slice(0, CLASSES), isUnseen);
      for (const stage of ["coarse", "fine"]) this.#answers(stage, told.answers?.[stage] ?? []);
    } catch (error) {
      if (error.name !== "AbortError") this.failed(error);
    }
  }

  #classes(classes, isUnseen) {
    const best = Math.max(classes[0]?.score ?? 1, 1e-6);
    this.root.querySelector("#classes").replaceChildren(...classes.map(({ name, score }) => {
      const row = element("li");
      const bar = element("span", "", "share");
      bar.style.setProperty("--share", String(Math.max(0, score) / best));
      row.append(element("span", name), bar, element("span", score.toFixed(2), "score"));
      if (isUnseen(name)) row.firstChild.append(element("small", " unseen"));
      return row;
    }));
  }

  #answers(stage, hits) {
    this.root.querySelector(`#${stage}`).replaceChildren(...hits.map((hit) => {
      const row = element("li");
      const img = element("img");
      img.alt = `${hit.label || hit.id}, ${shown(hit.score)}`;
      row.append(img, element("span", hit.label || hit.id));
      row.lastChild.setAttribute("aria-hidden", "true"); // the picture's text says it
      show(img, hit.photo, 128);
      return row;
    }));
  }
}
