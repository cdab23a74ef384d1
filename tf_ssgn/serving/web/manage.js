// Adding photos: one after the other, with what became of each.
import { call } from "./api.js";
import { element } from "./hits.js";
import { receive } from "./pictures.js";

export class Manage {
  #busy = false;

  /** `token(trouble, scope)` asks for a token and gives whether there is one now; `added()` is called after photos came. */
  constructor(dialog, { token, added }) {
    Object.assign(this, { dialog, token, added });
    const [label, files, progress, note, list, drop] = ["label", "files", "progress", "status", "list", "drop"].map(
      (name) => dialog.querySelector(`#manage-${name}`));
    Object.assign(this, { label, progress, note, list });
    files.addEventListener("change", async () => {
      await this.#add([...files.files]);
      files.value = "";
    });
    receive(drop, (given) => this.#add(given));
  }

  offer(about) {
    this.dialog.querySelector("datalist").replaceChildren(
      ...(about.gallery?.labels ?? []).map(([name]) => new Option("", String(name))));
  }

  async #add(files) {
    const label = this.label.value.trim();
    if (this.#busy || !files.length) return;
    if (!label) {
      this.note.textContent = "Say first of which class they are.";
      this.label.focus();
      return;
    }
    this.#busy = true;
    this.progress.max = files.length;
    let good = 0;
    for (const [number, file] of files.entries()) {
      this.progress.value = number;
      this.note.textContent = `Adding ${number + 1} of ${files.length} …`;
      const row = element("li", `${file.name}: `);
      this.list.prepend(row);
      try {
        const told = await this.#one(file, label);
        row.append(`added as ${told.id}`);
        good += 1;
      } catch (error) {
        row.append(error.message);
        row.className = "bad";
      }
    }
    this.progress.value = files.length;
    this.note.textContent = `${good} of ${files.length} added.`;
    this.#busy = false;
    if (good) this.added();
  }

  async #one(file, label, again = 3) {
    try {
      const path = `/api/items?label=${encodeURIComponent(label)}`; // what is a photo is for the server to say
      return await call("POST", path, { body: file, type: "application/octet-stream", scope: "write" });
    } catch (error) {
      const told = [401, 403].includes(error.code) && (await this.token(error, "write"));
      if (!again || !(told || error.retry)) throw error;
      if (!told) await new Promise((done) => { setTimeout(done, 1000 * error.retry); });
      return this.#one(file, label, again - 1);
    }
  }
}
