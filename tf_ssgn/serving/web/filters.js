// Number of answers, class and the gallery's own columns: which photos may be an answer.
import { element } from "./hits.js";

const COUNTS = [12, 24, 48, 96, 200];

export const USUAL = 24; // photos

export class Filters {
  #values = {}; // column -> value
  #most = Infinity;
  k = USUAL;

  constructor(form, changed) {
    this.form = form;
    this.count = form.querySelector("#k");
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", (event) => {
      this.#read(event.target);
      changed();
    });
  }

  get values() { return { ...this.#values }; }

  set(values, k) {
    this.#values = { ...values };
    this.k = Math.min(k || USUAL, this.#most);
    this.#show();
  }

  /** Makes the fields from what the server says of its gallery. */
  offer(about) {
    this.#most = about.limits.k;
    this.k = Math.min(this.k, this.#most);
    const counts = COUNTS.filter((count) => count <= this.#most);
    this.count.replaceChildren(...counts.map((count) => new Option(String(count), String(count))));
    for (const old of this.form.querySelectorAll(".column")) old.remove();
    const { labels, columns } = about.gallery ?? { labels: [], columns: {} };
    for (const [name, listed] of [["label", labels], ...Object.entries(columns)]) this.#add(name, listed);
    const fields = [...this.form.querySelectorAll("[data-column]")].map((field) => field.dataset.column);
    for (const name of Object.keys(this.#values)) { // a link may name what cannot be taken away here
      if (!fields.includes(name)) delete this.#values[name];
    }
    this.#show();
  }

  /** What a search sends of it. */
  body() {
    return { k: this.k, ...(Object.keys(this.#values).length ? { columns: this.#values } : {}) };
  }

  #add(name, listed) {
    if (listed && listed.length < 2) return; // nothing to choose
    const label = element("label", name === "label" ? "Class " : `${name} `, "column");
    const field = element(listed ? "select" : "input");
    field.dataset.column = name;
    if (listed) {
      field.append(new Option("all", ""));
      for (const [value, number] of listed) {
        const option = new Option(`${value} (${number})`, JSON.stringify(value));
        field.append(option);
      }
    } else {
      field.type = "text";
      field.placeholder = "all";
      field.size = 10;
    }
    label.append(field);
    this.form.append(label);
  }

  #read(field) {
    const column = field.dataset.column;
    if (field === this.count) this.k = Number(field.value);
    else if (field.value === "") delete this.#values[column];
    else this.#values[column] = field.tagName === "SELECT" ? JSON.parse(field.value) : field.value;
  }

  #show() {
    const places = [...this.count.options];
    if (places.length && !places.some((one) => Number(one.value) === this.k)) { // a link may ask for any number
      this.count.add(new Option(String(this.k), String(this.k)), places.find((one) => Number(one.value) > this.k) ?? null);
    }
    this.count.value = String(this.k);
    for (const field of this.form.querySelectorAll("[data-column]")) {
      const value = this.#values[field.dataset.column];
      field.value = value === undefined ? "" : field.tagName === "SELECT" ? JSON.stringify(value) : value;
    }
  }
}
