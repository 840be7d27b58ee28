// Shows what a hook asks and sends the answer. The token is behind the `#` of the link, which browsers send to nobody. All that
// comes from outside is put in as text.
"use strict";

const at = (id) => document.getElementById(id);
const token = location.hash.slice(1);
const url = `/api/workflows/hooks/${encodeURIComponent(token)}`;
const parts = ["question", "choice", "confirmation", "standing"];
let chosen = "";
let answerId = "";

function show(...shown) {
  for (const part of parts) at(part).hidden = !shown.includes(part);
}

function say(text) {
  at("state").textContent = text;
  at("state").focus();
}

// A browser rounds large numbers. So each number is read as a text that begins with "#", and each text, names too, as one that
// begins with "=". Written for people they are as the server has sent them.
const WORD = /"([^"\\]*(?:\\.[^"\\]*)*)"|-?\d[\d.eE+-]*/g;
const MARKED = /"([=#])([^"\\]*(?:\\.[^"\\]*)*)"/g;
const read = (json) => JSON.parse(json.replace(WORD, (word, text) => (text === undefined ? `"#${word}"` : `"=${text}"`)));
const written = (value) => JSON.stringify(value, null, 2).replace(MARKED, (_, mark, text) => (mark === "#" ? text : `"${text}"`));
const isText = (value) => typeof value === "string" && value[0] === "=";
const pretty = (value) => visible(isText(value) ? value.slice(1) : written(value));

// What would turn around the order of the letters behind it is shown instead.
const TURNING = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
const visible = (text) => text.replace(TURNING, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`);

function fill(hook) {
  for (const name of ["action", "name", "workflowName", "runId", "payload", "answer"]) at(name).textContent = pretty(hook[`=${name}`]);
  const expires = hook["=expires"];
  at("expires").textContent = expires ? new Date(expires.slice(1)).toLocaleString() : "its run is over";
}

function answered(hook, text) {
  fill(hook);
  show("question", "standing");
  say(text);
}

function refused(status) {
  if (status === 404 || status === 410) show();
  if (status === 404) say("There is no such question. Is the link complete?");
  else if (status === 410) say("It is too late: the question has expired, or its run is over.");
  else if (status === 413) say("The answer is too long. Nothing was sent.");
  else say(`The server did not take this (${status}). Please try again later.`);
}

async function ask(options) {
  const response = await fetch(url, { cache: "no-store", credentials: "omit", redirect: "error", ...options });
  return [response.status, read(await response.text())];
}

async function look() {
  if (!token) return refused(404);
  try {
    const [status, hook] = await ask({});
    if (status !== 200) return refused(status);
    if (hook["=state"] === "=executed") return answered(hook, "This was answered before.");
    fill(hook);
    show("question", "choice");
    at("state").textContent = "Please read it, then answer. Nothing is sent before you confirm.";
  } catch {
    say("The server cannot be reached. Please load the page again later.");
  }
}

function choose(text) {
  chosen = text;
  // One id for one choice: sent again after a lost connection, it is the same answer.
  answerId = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  at("chosen").textContent = visible(text);
  show("question", "confirmation");
  at("confirm").focus();
}

function decide(approved) {
  const comment = at("comment").value.trim();
  choose(JSON.stringify(comment ? { approved, comment } : { approved }));
}

function other() {
  const text = at("json").value;
  try {
    JSON.parse(text);
  } catch {
    at("wrong").textContent = "This is not JSON. A text needs quotes: \"like this\".";
    at("json").focus();
    return;
  }
  at("wrong").textContent = "";
  choose(text);
}

async function send(event) {
  event.preventDefault();
  at("confirm").disabled = true;
  try {
    const headers = { "Content-Type": "application/json", "Idempotency-Key": answerId };
    const [status, body] = await ask({ method: "POST", headers, body: chosen });
    if (status === 200) answered(body, "Thank you. Your answer was taken.");
    else if (status === 409 && body["=hook"]) answered(body["=hook"], "Somebody has answered before: yours was not taken.");
    else refused(status);
  } catch {
    say("The connection was lost. Send it once more: it will count only once.");
  }
  at("confirm").disabled = false;
}

at("approve").addEventListener("click", () => decide(true));
at("reject").addEventListener("click", () => decide(false));
at("other").addEventListener("click", other);
at("choice").addEventListener("submit", (event) => event.preventDefault());
at("confirmation").addEventListener("submit", send);
at("back").addEventListener("click", () => {
  show("question", "choice");
  at("approve").focus();
});
addEventListener("hashchange", () => location.reload());
look();
