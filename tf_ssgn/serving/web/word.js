// The word beside the drawing: a field with completions, and what the drawing may be as buttons that fill it in.
import { call } from "./api.js";
import { choice } from "./hits.js";

const TYPING = 150; // ms of rest after which completions are asked for
const LONGEST = 64;

export class Word {
  #waiting = 0;
  #asked = 0;

  /** `told()` is called when the word is another one. */
  constructor(root, told) {
    Object.assign(this, { root, told, value: "" });
    [this.field, this.clear] = [root.querySelector("input"), root.querySelector("button")];
    this.list = root.querySelector("datalist");
    this.buttons = root.querySelector("ul");
    this.field.addEventListener("input", () => this.#typed());
    this.field.addEventListener("change", () => this.#tell(this.field.value));
    this.clear.addEventListener("click", () => { this.#tell(""); this.field.focus(); });
  }

  /** What is served: a model that knows no words has no field. */
  offer({ model }) {
    this.root.hidden = !model.words;
    if (!model.words) this.value = "";
  }

  set(value) {
    this.value = value.trim().slice(0, LONGEST);
    this.field.value = this.value;
    this.clear.hidden = !this.value;
    if (this.value) this.guess([]);
  }

  /** Shows what the drawing may be; nothing beside a word that was told. */
  guess(names) {
    this.buttons.hidden = !names.length || Boolean(this.value);
    this.buttons.replaceChildren(...(this.value ? [] : names).map((name) =>
      choice(() => { this.#tell(name); this.field.focus(); }, `${name}?`)));
  }

  #tell(value) {
    const before = this.value;
    this.set(value);
    if (this.value !== before) this.told();
  }

  #typed() {
    clearTimeout(this.#waiting);
    const known = [...this.list.children].some((option) => option.value === this.field.value);
    if (known) return this.#tell(this.field.value); // one of the completions was chosen
    this.#waiting = setTimeout(() => this.#complete(this.field.value.trim()), TYPING);
    return null;
  }

  async #complete(start) {
    const asked = ++this.#asked;
    try {
      const { words } = start ? await call("GET", `/api/words?start=${encodeURIComponent(start)}`) : { words: [] };
      if (asked !== this.#asked) return;
      this.list.replaceChildren(...words.map((word) => new Option(word, word)));
    } catch { /* the field works without completions; what is wrong the search says */ }
  }
}
