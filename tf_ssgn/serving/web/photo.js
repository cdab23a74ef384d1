// The large photo in a dialog: what is known of it, its neighbours among the answers, more like it, and deleting.
import { call } from "./api.js";
import { element, shown } from "./hits.js";
import { show } from "./thumbs.js";

export class Photo {
  #place = 0;
  #hits = [];

  /** `like(hit)` asks for more like a photo; `token(trouble, scope)` for a token; `deleted()` is called after a photo went. */
  constructor(dialog, { like, token, deleted }) {
    this.dialog = dialog;
    this.img = dialog.querySelector("img");
    this.note = dialog.querySelector("[role=status]");
    const [before, after, more, remove] = ["before", "after", "like", "delete"].map((name) =>
      dialog.querySelector(`#photo-${name}`));
    Object.assign(this, { before, after, remove });
    before.addEventListener("click", () => this.#step(-1));
    after.addEventListener("click", () => this.#step(1));
    more.addEventListener("click", () => { dialog.close(); like(this.hit); });
    remove.addEventListener("click", () => this.#delete(token, deleted));
    dialog.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (by) this.#step(by);
    });
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  }

  get hit() { return this.#hits[this.#place]; }

  open(hits, place) {
    [this.#hits, this.#place] = [hits, place];
    this.#fill();
    this.dialog.showModal();
  }

  #step(by) {
    const place = this.#place + by;
    if (place < 0 || place >= this.#hits.length) return;
    this.#place = place;
    this.#fill();
  }

  async #fill() {
    const hit = this.hit;
    this.dialog.querySelector("h2").textContent = hit.label || "Photo";
    this.before.disabled = this.#place === 0;
    this.after.disabled = this.#place + 1 === this.#hits.length;
    this.note.textContent = "";
    this.remove.dataset.sure = "";
    this.remove.textContent = "Delete";
    this.img.alt = `Photo ${hit.id}`;
    this.img.removeAttribute("src");
    delete this.img.dataset.url; // so that the photo that was shown last is shown again
    show(this.img, hit.photo, 1024);
    const rows = [["Path", hit.id], ["Similarity", shown(hit.score)]];
    this.#facts(rows);
    try {
      const known = await call("GET", hit.photo.replace("/api/photo/", "/api/items/"));
      if (hit !== this.hit) return;
      if (known.width) rows.push(["Size", `${known.width} × ${known.height} pixels, ${Math.ceil(known.bytes / 1024)} KB`]);
      this.#facts([...rows, ...Object.entries(known.columns)]);
    } catch { /* the photo says enough */ }
  }

  #facts(rows) {
    this.dialog.querySelector("dl").replaceChildren(
      ...rows.map(([name, value]) => {
        const row = element("div");
        row.append(element("dt", name), element("dd", String(value)));
        return row;
      }));
  }

  async #delete(token, deleted) {
    if (!this.remove.dataset.sure) { // asked twice, since nothing brings it back
      this.remove.dataset.sure = "yes";
      this.remove.textContent = "Delete for good";
      return;
    }
    const hit = this.hit;
    this.remove.disabled = true;
    try {
      await call("DELETE", hit.photo.replace("/api/photo/", "/api/items/"), { scope: "write" });
      this.dialog.close();
      deleted();
    } catch (error) {
      this.note.textContent = error.message;
      if ([401, 403].includes(error.code) && await token(error, "write")) this.note.textContent = "Thank you. Delete it now?";
    } finally {
      this.remove.disabled = false;
    }
  }
}
