// The server's API, with the tokens that it may ask for, and what is wrong in words.

/** `code` is the HTTP status, 0 where no answer came; `retry` the seconds after which to try again, 0 for never. */
class Trouble extends Error {
  constructor(message, code, retry) {
    super(message);
    Object.assign(this, { code, retry });
  }
}

const kept = (scope) => { // in this tab only; forgotten when it is closed
  try { return sessionStorage.getItem(`token-${scope}`) ?? memory[scope]; } catch { return memory[scope]; }
};
const memory = {};

export const tokens = {
  get: (scope) => kept(scope) || kept("search") || kept("write") || "",
  has: (scope) => Boolean(kept(scope)),
  set(scope, value) {
    memory[scope] = value;
    try { sessionStorage.setItem(`token-${scope}`, value); } catch { /* storage may be forbidden */ }
  },
};

export function headers(scope) {
  const token = tokens.get(scope);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** A path of the server where this page lies: a proxy may put all of it below a path of its own. */
export const at = (path) => new URL(`.${path}`, document.baseURI).href;

export async function call(method, path, { body, signal, scope = "search", type } = {}) {
  let reply;
  try {
    const json = body !== undefined && !(body instanceof Blob);
    const kind = json ? { "Content-Type": "application/json" } : type ? { "Content-Type": type } : {};
    reply = await fetch(at(path), {
      method, signal, body: json ? JSON.stringify(body) : body, headers: { ...headers(scope), ...kind },
    });
    if (reply.status === 204) return null;
    if (reply.ok) return await reply.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble("The server does not answer. Is it still running? This page tries again by itself.", 0, 2);
  }
  throw trouble(reply, await told(reply));
}

async function told(reply) {
  try { return String((await reply.json()).error ?? ""); } catch { return ""; }
}

function trouble(reply, message) {
  const wait = Number(reply.headers.get("Retry-After")) || 1;
  switch (reply.status) {
    case 401: return new Trouble(message, 401, 0);
    case 413: return new Trouble("The picture is too large for this server.", 413, 0);
    case 422: return new Trouble(message.includes("blank") ? "Nearly blank: draw a little more." :
      `The picture cannot be used: ${message}.`, 422, 0);
    case 429: return new Trouble("You ask faster than this server allows; it goes on in a moment.", 429, wait + 1);
    case 503: return new Trouble(/loaded|shutting/.test(message) ?
      `The server is not ready: ${message}. This page tries again by itself.` :
      "The server has too much to do right now. This page tries again by itself.", 503, wait);
    case 504: return new Trouble("The answer took too long. This page tries again by itself.", 504, 2);
    default: return new Trouble(message || `The server answered with status ${reply.status}.`, reply.status, 0);
  }
}
