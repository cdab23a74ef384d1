// Puts the page together: what was drawn becomes a question, what was answered becomes the grid.
import { call, tokens } from "./api.js";
import { Drawing, toCanvas, toSvg } from "./drawing.js";
import { offerExamples } from "./offer.js";
import { Explanation } from "./explain.js";
import { Filters, USUAL } from "./filters.js";
import { Hits } from "./hits.js";
import { bindKeys } from "./keys.js";
import { Address } from "./link.js";
import { Manage } from "./manage.js";
import { Pad } from "./pad.js";
import { Photo } from "./photo.js";
import { receive, receivePasted } from "./pictures.js";
import { Query } from "./query.js";
import { save, toCsv, toJson } from "./save.js";
import { Search } from "./search.js";
import { askForToken } from "./token.js";
import { Word } from "./word.js";

const GROWS = 2000; // milliseconds between two looks at a gallery that is growing
const $ = (id) => document.getElementById(id);

const drawing = new Drawing();
const pad = new Pad($("pad"), drawing, drawn);
const hits = new Hits($("hits"), $("peek"), (place) => photo.open(hits.list, place));
const photo = new Photo($("photo"), { like, token, deleted: begin });
const filters = new Filters($("filters"), () => { remember(); search.now(); });
const explanation = new Explanation($("explain"), failed, (list, place) => photo.open(list, place));
const manage = new Manage($("manage"), { token, added: begin });
const word = new Word($("word"), () => { remember(); ask(); });
const query = new Query({ banner: $("like"), choice: $("picture-as"), pad, word }, changed);
const search = new Search(question, answered, failed);
let about = null;
let answer = null;
let growing = 0;

function question() {
  const asked = source();
  if (asked) busy(true);
  return asked && { ...asked, ...filters.body() };
}

const source = () => query.body(about?.raster); // `begin` asks again once it is known how to ask
const say = (text) => { $("status").textContent = text; };
const busy = (so) => hits.root.setAttribute("aria-busy", String(so));

// -- what the person does --------------------------------------------------------------------------------------------

function drawn(done) {
  query.like(null);
  if (done) changed();
  else {
    $("nudge").hidden = true;
    search.soon();
  }
}

/** The paper has other things on it. */
function changed() {
  pad.paint();
  const blank = drawing.items.length === 0;
  $("undo").disabled = !drawing.canUndo;
  $("redo").disabled = !drawing.canRedo;
  for (const id of ["clear", "save-png", "link"]) $(id).disabled = blank && !query.liked;
  $("save-svg").disabled = !drawing.strokes.length;
  $("nudge").hidden = !blank;
  pad.canvas.setAttribute("aria-label", blank ? "Drawing pad, empty" :
    `Drawing pad, ${drawing.items.length} ${drawing.items.length === 1 ? "stroke" : "strokes"}`);
  remember();
  ask();
}

function ask() {
  if (source()) return search.now();
  search.stop();
  busy(false);
  answer = null;
  hits.show([]);
  word.guess([]);
  settle();
  say("Draw, and photos appear here.");
  return null;
}

function edit(change) {
  if (pad.busy) return;
  change();
  query.like(null);
  changed();
}

/** Asks for photos like one; `step` as in `remember`: a link that was opened is where Back leads already. */
function like(hit, step = true) {
  query.like(hit);
  remember(step);
  ask();
  if (!step) return;
  $("like").scrollIntoView({ block: "nearest" });
  $("like").querySelector("button").focus({ preventScroll: true });
}

const opened = ([file]) => query.open(file).catch((error) => say(error.message));

// -- what the server says --------------------------------------------------------------------------------------------

function answered(told, ms, final) {
  answer = told;
  busy(false);
  $("trouble").hidden = true;
  hits.show(told.hits);
  word.guess(told.guesses ?? []);
  settle();
  const best = told.hits[0];
  say(best ? `${told.hits.length} photos in ${Math.round(ms)} ms; best: ${best.label || best.id}` :
    "No photo passes these filters.");
  if (final && !$("explain").hidden) explain(true);
  if (about?.gallery && told.gallery_version !== about.gallery.version) learn();
}

/** What depends on whether there are answers. */
function settle() {
  $("empty").hidden = Boolean(answer);
  $("save-csv").disabled = $("save-json").disabled = !answer?.hits.length;
  $("explain-open").disabled = !query.isDrawing || drawing.blank;
  $("explain-open").title = query.isDrawing ? "" : "Only drawings are explained";
  if ($("explain-open").disabled) explain(false);
}

function failed(trouble) {
  if (trouble.code === 401 || trouble.code === 403 && trouble.message.includes("'search'")) {
    token(trouble, "search").then((told) => { if (told) begin(); });
    return;
  }
  hits.stale(true);
  if (trouble.code === 422 || trouble.message.startsWith("word: ")) {
    busy(false);
    answer = null;
    settle();
    $("empty").hidden = true;
    say(trouble.message);
    return;
  }
  $("trouble").hidden = false;
  $("trouble").firstElementChild.textContent = trouble.message;
  $("trouble").lastElementChild.hidden = !trouble.retry;
}

function explain(open) {
  $("explain").hidden = !open;
  $("explain-open").setAttribute("aria-expanded", String(open));
  const asked = open && query.isDrawing && source();
  if (asked) explanation.show({ ...asked, ...filters.body() }, (name) => hits.isUnseen(name), answer?.hits[0]?.label);
}

/** Asks for a token with a scope; tells whether there is one now. */
async function token(trouble, scope) {
  const given = await askForToken($("token"), trouble);
  if (given) tokens.set(scope, given);
  return Boolean(given);
}

/** Learns what is served; tells whether that worked. */
async function learn() {
  try {
    about = await call("GET", "/api/gallery");
  } catch (error) {
    failed(error);
    if (error.retry) setTimeout(begin, 1000 * error.retry);
    return false;
  }
  const { gallery, model } = about;
  hits.seen = new Set(model.seen);
  filters.offer(about);
  word.offer(about);
  manage.offer(about);
  $("manage-open").hidden = $("photo-delete").hidden = !about.writable;
  if (!gallery) {
    $("about").textContent = `model ${model.name}`;
    failed({ message: "This server has no gallery, so there are no photos to find. Start it with --gallery.", code: 400 });
    return false;
  }
  clearTimeout(growing);
  if (gallery.expected !== null) growing = setTimeout(grow, GROWS);
  const classes = gallery.labels ? ` of ${gallery.labels.length} classes` : "";
  $("about").textContent = `${photos(gallery)}${classes} · model version ${model.version}`;
  const fresh = (gallery.labels ?? []).map(([name]) => name).filter((name) => hits.isUnseen(name));
  if (fresh.length) {
    $("empty-hint").textContent = `A few lines are enough. No training image showed the model a ${fresh.slice(0, 3).join(", a ")}` +
      `${fresh.length > 3 ? " …" : ""}: see how it finds them all the same.`;
  }
  return true;
}

function photos({ items, expected }) {
  const count = items.toLocaleString("en");
  if (expected === null) return `${count} photos`;
  return expected > items ? `${count} of ${expected.toLocaleString("en")} photos so far` : `${count} photos so far`;
}

/** The gallery is not whole yet: looks again, and answers what is on the paper from what has come since. */
async function grow() {
  const before = about.gallery?.version;
  if (await learn() && about.gallery.version !== before && answer && !pad.busy) search.now();
}

async function begin() {
  if (!await learn()) return;
  $("trouble").hidden = true;
  ask();
}

// -- the address -----------------------------------------------------------------------------------------------------

const address = new Address();

/** Keeps the query in the address, so that it can be shared and reloaded; `step` makes it one for the Back button. */
function remember(step = false) {
  const k = filters.k === USUAL ? 0 : filters.k;
  const strokes = drawing.hasPicture ? [] : drawing.strokes;
  return address.keep({ strokes, word: word.value, photo: query.liked?.id, k, filters: filters.values }, step);
}

async function fromAddress() {
  const found = await address.read();
  if (!found) return;
  filters.set(found.filters, found.k);
  word.set(found.word);
  query.like(null);
  if (found.photo) like({ id: found.photo }, false);
  else {
    if (found.strokes.length) drawing.replace(found.strokes);
    changed();
  }
}

async function copyLink() {
  await remember();
  const copied = await navigator.clipboard?.writeText(location.href).then(() => true, () => false); // encrypted pages have one
  say(!query.liked && drawing.hasPicture ? "A link cannot hold a picture; download it instead." :
    !query.liked && !location.hash ? "The drawing is too long for a link; download it instead." :
    copied ? "The link is copied." : "The link is in the address bar.");
}

// -- buttons ---------------------------------------------------------------------------------------------------------

const on = (id, work) => $(id).addEventListener("click", work);

function useTool(erasing) {
  pad.erasing = erasing;
  $("pen").setAttribute("aria-pressed", String(!erasing));
  $("eraser").setAttribute("aria-pressed", String(erasing));
  pad.canvas.classList.toggle("erasing", erasing);
}

function useWidth(width) {
  $("width").value = String(width); // which keeps it in its bounds
  pad.width = Number($("width").value);
}

const actions = {
  pen: () => useTool(false),
  eraser: () => useTool(true),
  undo: () => edit(() => drawing.undo()),
  redo: () => edit(() => drawing.redo()),
  clear: () => { if (drawing.items.length) edit(() => drawing.replace([])); },
  thinner: () => useWidth(pad.width - 4),
  thicker: () => useWidth(pad.width + 4),
  help: () => $("help").showModal(),
};
for (const id of ["pen", "eraser", "undo", "redo", "clear"]) on(id, actions[id]);
on("help-open", actions.help);
on("manage-open", () => $("manage").showModal());
on("link", copyLink);
on("save-png", () => toCanvas(drawing.items, 1024).toBlob((blob) => save("drawing.png", blob)));
on("save-svg", () => save("drawing.svg", toSvg(drawing.strokes), "image/svg+xml"));
on("save-csv", () => save("photos.csv", toCsv(answer.hits), "text/csv;charset=utf-8"));
on("save-json", () => save("photos.json", toJson(answer), "application/json"));
on("explain-open", () => explain($("explain").hidden));
$("trouble").lastElementChild.addEventListener("click", begin);
$("width").addEventListener("input", () => useWidth(Number($("width").value)));
$("upload").addEventListener("change", () => {
  if ($("upload").files.length) opened([...$("upload").files]);
  $("upload").value = "";
});
receive($("paper"), opened);
receive(document.body, opened);
receivePasted(opened);
bindKeys(actions, $("single-keys"));
addEventListener("popstate", fromAddress);
addEventListener("hashchange", fromAddress);

offerExamples($("examples"), (strokes, partial) => {
  pad.preview(partial ? strokes : null);
  if (partial) $("nudge").hidden = true;
  else edit(() => drawing.replace(strokes));
});
await fromAddress();
changed();
begin();
