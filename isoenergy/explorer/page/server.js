/** What is asked of the server. The token stands in the page's address and goes along in a header. */

const token = new URLSearchParams(location.search).get("token") ?? "";

/** An answer that says what is wrong, for people, with all that it says. */
export class Refused extends Error {
  /** @param {string} message @param {any} [found] */
  constructor(message, found = {}) {
    super(message);
    this.found = found;
  }
}

/** @param {string} path @param {RequestInit} [options] @returns {Promise<any>} */
export async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(`api/${path}`, { ...options, headers: { ...options.headers, "x-explorer-token": token } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server does not answer; is `isoenergy explore` still running?");
  }
  const found = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(found.error ?? `The server answers ${response.status}.`, found);
  return found;
}

/** @param {string} path @param {Record<string, string | number>} values */
export const query = (path, values) => call(`${path}?${new URLSearchParams(Object.entries(values).map(([k, v]) => [k, String(v)]))}`);

/** @param {string} path @param {unknown} value @param {string} [method] @param {AbortSignal} [signal] */
export const send = (path, value, method = "POST", signal) =>
  call(path, { method, signal, body: JSON.stringify(value), headers: { "content-type": "application/json" } });

/** @type {Map<number, string | null>} */
const pictures = new Map();
/** @type {Map<number, ((picture: string | null) => void)[]>} */
let waiting = new Map();
const AT_ONCE = 60;
const MOST_KEPT = 4000;

/** @param {number} pair @returns {Promise<string | null>} The thumbnail of a pair's image; null: there is none. */
export function picture(pair) {
  const kept = pictures.get(pair);
  if (kept !== undefined) return Promise.resolve(kept);
  return new Promise((done) => {
    if (!waiting.size) setTimeout(fetchPictures, 15);
    waiting.set(pair, [...(waiting.get(pair) ?? []), done]);
  });
}

async function fetchPictures() {
  const wanted = waiting;
  waiting = new Map();
  const pairs = [...wanted.keys()];
  for (let first = 0; first < pairs.length; first += AT_ONCE) {
    const some = pairs.slice(first, first + AT_ONCE);
    /** @type {Record<string, string | null>} */
    let found = {};
    try {
      found = await query("pictures", { pairs: some.join(",") });
      if (pictures.size > MOST_KEPT) pictures.clear();
      for (const pair of some) pictures.set(pair, found[pair] ?? null);
    } catch {
      // captions stand in their place
    }
    for (const pair of some) for (const done of wanted.get(pair) ?? []) done(found[pair] ?? null);
  }
}
