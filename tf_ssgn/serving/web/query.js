// What is asked for: the drawing, a picture from outside or a photo of the gallery, and the word beside it.
import { asQuery, toCanvas } from "./drawing.js";
import { asPhoto, decode, isColourful, onPaper } from "./pictures.js";
import { addressOf, show } from "./thumbs.js";

const SENT = 384; // pixels of a drawing with a picture in it that is searched with
const base64 = (canvas, type) => canvas.toDataURL(type, 0.9).split(",", 2)[1];

export class Query {
  liked = null; // the photo that is asked with, in place of the drawing
  #picture = null; // the last one that came from outside, and what it was said to be

  /** `banner` shows the photo that is asked with, `choice` what the picture is; `changed()` is called when it is another. */
  constructor({ banner, choice, pad, word }, changed) {
    Object.assign(this, { banner, choice, pad, word, changed });
    [this.sketch, this.photo] = choice.querySelectorAll("button");
    this.sketch.addEventListener("click", () => this.#readAs(false));
    this.photo.addEventListener("click", () => this.#readAs(true));
    banner.querySelector("button").addEventListener("click", () => { this.like(null); changed(); });
  }

  /** Whether it is a drawing that is asked with. */
  get isDrawing() { return !this.liked && !this.#picture?.photo; }

  /** What a search sends of it, null for nothing; `raster` says how the server wants drawings, null: not known yet. */
  body(raster) {
    if (this.liked) return { id: this.liked.id };
    if (this.#picture?.photo) return { image: base64(this.#picture.photo, "image/jpeg"), kind: "photo" };
    if (!raster) return null;
    const { pad, word } = this;
    const told = word.value ? { word: word.value } : {};
    if (pad.drawing.blank && !pad.busy) return word.value ? told : null;
    const asked = pad.drawing.hasPicture ? toCanvas(pad.items, SENT) : asQuery(pad.items, raster);
    return { image: base64(asked, "image/png"), ...told };
  }

  /** Asks with a photo of the gallery from now on; with null the drawing counts again. */
  like(hit) {
    this.#picture = null;
    this.choice.hidden = true;
    this.liked = hit && { id: hit.id, photo: hit.photo ?? addressOf(hit.id) };
    this.banner.hidden = !hit;
    if (!hit) return;
    this.banner.querySelector("b").textContent = hit.id;
    show(this.banner.querySelector("img"), this.liked.photo, 128);
  }

  /** Puts a picture onto the paper; an Error for what is none. */
  async open(file) {
    const bitmap = await decode(file);
    this.like(null);
    this.#picture = { bitmap, photo: null };
    this.pad.drawing.add({ image: bitmap }); // which the next line puts onto paper
    this.#readAs(isColourful(bitmap));
  }

  #readAs(photo) {
    this.#picture.photo = photo ? asPhoto(this.#picture.bitmap) : null;
    this.pad.drawing.amend({ image: onPaper(this.#picture.bitmap, !photo) });
    this.choice.hidden = false;
    this.sketch.setAttribute("aria-pressed", String(!photo));
    this.photo.setAttribute("aria-pressed", String(photo));
    this.changed();
  }
}
