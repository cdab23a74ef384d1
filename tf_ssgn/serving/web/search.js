// Asking while somebody draws: one question at a time, the newest wins, old answers are dropped.
import { call } from "./api.js";

const WHILE_DRAWING = 250; // ms between two questions about a drawing that still grows

/**
 * `question()` gives the body of the next search, or null where there is nothing to ask. `answered(answer, ms, final)` and
 * `failed(trouble)` hear of each answer that is still wanted.
 */
export class Search {
  #number = 0;
  #running = null;
  #waiting = 0;
  #last = 0;
  #retries = 0;

  constructor(question, answered, failed) {
    Object.assign(this, { question, answered, failed });
  }

  /** The drawing grows: asks soon, unless an answer is on its way already. */
  soon() {
    if (this.#running || this.#waiting) return;
    const rest = Math.max(0, this.#last + WHILE_DRAWING - performance.now());
    this.#waiting = setTimeout(() => this.#ask(false), rest);
  }

  /** Asks at once; what was asked before is given up. */
  now() {
    this.stop();
    return this.#ask(true);
  }

  stop() {
    this.#running?.abort();
    clearTimeout(this.#waiting);
    this.#running = null;
    this.#waiting = 0;
    this.#number += 1;
  }

  async #ask(final) {
    this.#waiting = 0;
    const body = this.question();
    if (!body) return;
    const number = ++this.#number;
    const running = this.#running = new AbortController();
    const start = this.#last = performance.now();
    try {
      const answer = await call("POST", "/api/search", { body, signal: running.signal });
      if (number !== this.#number) return;
      this.#running = null;
      this.#retries = 0;
      this.answered(answer, performance.now() - start, final);
    } catch (error) {
      if (number !== this.#number) return;
      this.#running = null;
      if (error.name === "AbortError") return;
      if (error.retry) {
        const seconds = Math.min(error.retry * 2 ** this.#retries, 15);
        this.#retries += 1;
        this.#waiting = setTimeout(() => this.#ask(final), 1000 * seconds);
      }
      this.failed(error);
    }
  }
}
