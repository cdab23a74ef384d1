// The canvas: mouse, pen and finger through Pointer Events, and the arrow keys, become strokes of a drawing.
import { SIDE, drawStroke, render } from "./drawing.js";

const NEAREST = 2; // points nearer to the last one are dropped; nobody sees them
const ERASER = 2.5; // times as wide as the pen: it should take the whole line
const STEP = 40;
const FINE_STEP = 8;
const clip = (value) => Math.round(Math.min(SIDE, Math.max(0, value)));

/** `drawn(done)` is called while a stroke grows, and with true when it is finished. */
export class Pad {
  width = 14;
  erasing = false;
  #stroke = null;
  #pointer = null; // its id; "keys" while the arrow keys draw
  #cursor = [SIDE / 2, SIDE / 2];
  #shown = null;

  constructor(canvas, drawing, drawn) {
    this.canvas = canvas;
    this.drawing = drawing;
    this.drawn = drawn;
    this.context = canvas.getContext("2d", { willReadFrequently: false });
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.#up(event));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("blur", () => { if (this.#pointer === "keys") this.#finish(); });
    new ResizeObserver(() => this.#resize()).observe(canvas);
  }

  /** All that is on the paper now, the stroke that is growing included. */
  get items() { return this.#stroke ? [...this.drawing.items, this.#stroke] : this.drawing.items; }
  get busy() { return this.#stroke !== null; }

  /** Shows strokes that are not on the paper yet; null ends that. */
  preview(strokes) {
    this.#shown = strokes;
    this.paint();
  }

  paint() {
    render(this.context, this.#shown ?? this.items);
    if (document.activeElement === this.canvas && this.#pointer === "keys") this.#cross();
  }

  #resize() {
    const side = Math.round(this.canvas.clientWidth * Math.min(devicePixelRatio || 1, 3));
    if (side && side !== this.canvas.width) {
      this.canvas.width = this.canvas.height = side;
      this.paint();
    }
  }

  #point(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = clip(((event.clientX - box.left) / box.width) * SIDE);
    const y = clip(((event.clientY - box.top) / box.height) * SIDE);
    return [x, y, event.pointerType === "pen" ? event.pressure : 0.5]; // fingers report no useful pressure
  }

  #begin(pointer, erase) {
    this.#pointer = pointer;
    this.#stroke = { width: erase ? this.width * ERASER : this.width, erase, points: [] };
  }

  #extend([x, y, pressure]) {
    const points = this.#stroke.points;
    const end = points.length;
    if (end && Math.hypot(x - points[end - 3], y - points[end - 2]) < NEAREST) return;
    points.push(x, y, Math.round(pressure * 100) / 100);
    drawStroke(this.context, this.#stroke, end);
  }

  #finish() {
    const stroke = this.#stroke;
    this.#stroke = this.#pointer = null;
    if (stroke?.points.length) this.drawing.add(stroke);
    this.paint();
    this.drawn(true);
  }

  #down(event) {
    if (this.#pointer !== null || event.button > 0 && event.button !== 5) return; // a palm beside the pen, other buttons
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.#begin(event.pointerId, this.erasing || event.button === 5); // 5: the pen's other end
    this.#extend(this.#point(event));
    this.drawn(false);
  }

  #move(event) {
    if (event.pointerId !== this.#pointer) return;
    const seen = event.getCoalescedEvents?.() ?? [];
    for (const one of seen.length ? seen : [event]) this.#extend(this.#point(one));
    this.drawn(false);
  }

  #up(event) {
    if (event.pointerId === this.#pointer) this.#finish();
  }

  #key(event) {
    const [right, down] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (right || down) {
      const step = event.shiftKey ? FINE_STEP : STEP;
      this.#cursor = [clip(this.#cursor[0] + right * step), clip(this.#cursor[1] + down * step)];
      if (this.#pointer === "keys") {
        this.#extend([...this.#cursor, 0.5]);
        this.drawn(false);
      }
      this.paint();
      this.#cross();
    } else if (event.key === " ") {
      if (this.#pointer === "keys") this.#finish();
      else if (this.#pointer === null) {
        this.#begin("keys", this.erasing);
        this.#extend([...this.#cursor, 0.5]);
      }
      this.#cross();
    } else return;
    event.preventDefault();
  }

  /** Shows where the keyboard's pen is; not part of the drawing. */
  #cross() {
    const [x, y] = this.#cursor;
    const context = this.context;
    context.strokeStyle = this.#pointer === "keys" ? "#b91c1c" : "#0f766e";
    context.lineWidth = 5;
    context.beginPath();
    context.moveTo(x - 24, y);
    context.lineTo(x + 24, y);
    context.moveTo(x, y - 24);
    context.lineTo(x, y + 24);
    context.stroke();
  }
}
