// Photos of the gallery as pictures on the page. Where reading takes a token, an <img> cannot send it; those are fetched.
import { headers, tokens } from "./api.js";

const blobs = new WeakMap(); // img -> its object URL
const seen = "IntersectionObserver" in window ? new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (isIntersecting) {
      seen.unobserve(target);
      load(target);
    }
  }
}, { rootMargin: "200px" }) : null;

/** Shows the photo at an address of the API, once it comes into view; a frame with words where it cannot be read. */
export function show(img, address, side) {
  const url = `${address}?side=${side}`;
  if (img.dataset.url === url) return;
  img.dataset.url = url;
  img.parentElement?.classList.remove("missing");
  img.onerror = () => img.parentElement?.classList.add("missing");
  if (!tokens.get("search")) {
    img.loading = img.closest("dialog") ? "eager" : "lazy";
    img.src = url;
  } else if (seen && !img.closest("dialog")) seen.observe(img);
  else load(img);
}

async function load(img) {
  const url = img.dataset.url;
  try {
    const reply = await fetch(url, { headers: headers("search") });
    if (!reply.ok) throw new Error(reply.status);
    const blob = URL.createObjectURL(await reply.blob());
    if (img.dataset.url !== url) return URL.revokeObjectURL(blob);
    if (blobs.has(img)) URL.revokeObjectURL(blobs.get(img));
    blobs.set(img, blob);
    img.src = blob;
  } catch {
    img.onerror?.();
  }
}
