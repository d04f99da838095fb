// Requests to the server, and their failures as one kind of error.

export class Failure extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, {credentials: "same-origin", ...options});
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("gone", "The server does not answer. Is magnifier serve still running?");
  }
  if (answer.ok) return answer.json();
  let problem = {code: "unknown", message: `The server answered ${answer.status}.`};
  try {
    problem = (await answer.json()).error ?? problem;
  } catch {
    // It was no answer of this server, such as one of a proxy.
  }
  if (answer.status === 401) {
    problem.message = "This link is no longer valid: open the one that magnifier serve printed " +
      "when it last started.";
  }
  throw new Failure(problem.code, problem.message);
}

function send(path, body, signal) {
  const headers = {"Content-Type": "application/json"};
  return ask(path, {method: "POST", headers, body: JSON.stringify(body), signal});
}

export const info = () => ask("info");

export function embed(file, signal) {
  const form = new FormData();
  form.append("image", file);
  return ask("embed", {method: "POST", body: form, signal});
}

export const search = (request, signal) => send("search", request, signal);

export const why = (request, signal) => send("why", request, signal);

export const partsOf = (id, signal) => ask(`image/${id}/parts`, {signal});

export const entry = (id) => ask(`image/${id}/entry`);

export function images(filters, signal) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(filters)) {
    for (const one of [value].flat()) query.append(name, one);
  }
  return ask(`images?${query}`, {signal});
}

export const thumbnail = (id) => `image/${id}?size=thumbnail`;

export const wholeImage = (id) => `image/${id}`;
