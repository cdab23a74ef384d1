// Photos of the gallery as pictures on the page. Where reading takes a token, an <img> cannot send it; those are fetched.
import { at, headers, tokens } from "./api.js";

const LONGEST_WAIT = 16; // seconds until a refused photo is asked for again for the last time
const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (isIntersecting) {
      seen.unobserve(target);
      load(target);
    }
  }
}, { rootMargin: "200px" });

/** Where the photo of an id is, as the server says it with each answer. */
export function addressOf(id) {
  const names = id.split("/");
  const dots = names.includes(".") || names.includes(".."); // which browsers resolve
  return `/api/photo/${dots ? encodeURIComponent(id) : names.map(encodeURIComponent).join("/")}`;
}

/** Shows the photo at an address of the API, once it comes into view; a frame with words where it cannot be read. */
export function show(img, address, side) {
  const url = at(`${address}?side=${side}`);
  if (img.dataset.url === url) return;
  img.dataset.url = url;
  img.parentElement?.classList.remove("missing");
  img.onerror = () => load(img); // which learns why
  if (!tokens.get("search")) {
    img.loading = img.closest("dialog") ? "eager" : "lazy";
    img.src = url;
  } else if (!img.closest("dialog")) seen.observe(img);
  else load(img);
}

/** Fetches the photo; one that the server has no time for now is asked for again, each a little later than the others. */
async function load(img, wait = 1) {
  const url = img.dataset.url;
  img.onerror = () => img.parentElement?.classList.add("missing");
  try {
    const reply = await fetch(url, { headers: headers("search") });
    if ([429, 503].includes(reply.status) && wait <= LONGEST_WAIT) {
      await new Promise((done) => { setTimeout(done, 1000 * wait * (0.5 + Math.random())); });
      if (img.dataset.url === url && img.isConnected) load(img, 2 * wait);
      return;
    }
    if (!reply.ok) throw new Error(reply.status);
    const blob = URL.createObjectURL(await reply.blob());
    if (img.dataset.url !== url) {
      URL.revokeObjectURL(blob);
      return;
    }
    img.src = blob;
    await img.decode().catch(() => {}); // shown, damaged or replaced: the address is needed no more
    URL.revokeObjectURL(blob);
  } catch {
    if (img.dataset.url === url) img.onerror();
  }
}
