// A worker in plain JavaScript, without a dependency, whose workflows are steps, sleeps, signals and records in turn:
//   node examples/worker.js http://127.0.0.1:7331
// Node 20 and 21 want --experimental-websocket. A key is taken from STEPWELL_API_KEY. The rules are those of docs/protocol.md.

const workflows = {
  "js-greeting": async (run, name) => {
    const greeting = await run.step("greet", async () => `Hello, ${name}`);
    await run.sleep("pause", 200);
    const by = await run.signal("sign");
    return run.step("sign", async () => `${greeting}! -- ${by}`);
  },
  "js-fragile": (run, needed) => run.step("ask", async (attempt) => {
    if (attempt < needed) throw new TypeError(`not at attempt ${attempt}`);
    return attempt;
  }, { retries: 2, delayMs: 50 }),
  "js-guestbook": (run, name) => run.write("enter", "guests", { action: "create", id: crypto.randomUUID(), data: { name } }),
};

const base = (process.argv[2] ?? "http://127.0.0.1:7331").replace(/^http/, "ws").replace(/\/$/, "");
const headers = process.env.STEPWELL_API_KEY ? { authorization: `Bearer ${process.env.STEPWELL_API_KEY}` } : {};
const CAPACITY = 100, MARGIN_MS = 100, PART = 200_000;
const runs = new Map(), beats = new Map(); // by runId and turn; when each beat was sent, by its number
let socket, session = "", assigned = 0, beat = 0, leaseUntil = 0, ahead = 0, leaving = false, tries = 0, ticks = 0;
let outgoing = [], parts = [], leaseWaiters = [];
const clock = () => Number(process.hrtime.bigint() / 1_000_000n);
const now = () => clock() + ahead; // the server's time
const find = ({ runId, turn }) => runs.get(`${runId}/${turn}`);
const room = () => say({ type: "room", credit: assigned + Math.max(0, CAPACITY - runs.size) });
const sendBeat = () => say({ type: "beat", no: beats.set(++beat, clock()) && beat });
const say = (frame) => outgoing.push(JSON.stringify(frame)) === 1 && queueMicrotask(flush);
function flush() { // what is lost is said again by the hello of the next connection, or lies in `unsettled`
  for (const text of socket.readyState === 1 ? outgoing.splice(0) : [])
    if (text.length <= PART) socket.send(`[${text}]`);
    else for (let at = 0; at < text.length; at += PART)
      socket.send(JSON.stringify([{ type: "part", text: text.slice(at, at + PART), last: at + PART >= text.length }]));
}

const described = ({ name = "Error", message }) => ({ type: name, message: String(message), kinds: [name] });
const failed = (record, stepId) => Object.assign(new Error(record.message), { record, origins: [stepId] });
class Gone extends Error {} // thrown into a workflow whose run is not ours any more

class Run {
  no = 0; events = []; writings = []; unsettled = null; over = false; draining = false; inBody = false;
  names = {}; // how often each was used again: what comes under a name for the second time is name#1
  recorded = new Map(); // the latest event of each stepId
  signals = []; // those that nobody has taken yet

  constructor({ runId, turn, workflow, startedAt, input = null, mailboxConsumed = 0, history = [], messages = [] }) {
    const consumed = messages.map(({ seq, id }) => [seq, id]);
    Object.assign(this, { runId, turn, consumed, mailboxConsumed: consumed.at(-1)?.[0] ?? mailboxConsumed, lastAt: startedAt });
    for (const { type, at, stepId, name, payload } of history) {
      this.lastAt = Math.max(this.lastAt, at);
      if (type === "signal_received") this.signals.push({ name, ...payload });
      else if (type === "run_resumed") payload.voided?.forEach((voided) => this.recorded.delete(voided)); // it was retried
      else if (stepId) this.recorded.set(stepId, { type, ...payload });
    }
    for (const { seq: mailboxSeq, kind, name, id: signalId, payload = null } of messages) { // rule 5
      if (kind !== "signal") { this.draining = true; continue; } // a pause: the run rests once it is handed back
      this.record("signal_received", "", name, { payload, signalId, mailboxSeq });
      this.signals.push({ name, payload });
    }
    const end = (status, payload) => this.last({ final: { status, event: { type: `run_${status}`, at: this.time(), payload } } });
    workflows[workflow](this, input).then(
      (output) => end("completed", { output: output ?? null }),
      (error) => end("failed", { error: error.record ?? described(error), origins: error.origins ?? [] }),
    );
  }

  async step(name, body, { retries = 0, delayMs = 1_000 } = {}) {
    const stepId = this.identity(name), before = this.recorded.get(stepId);
    if (before?.type === "step_completed") return before.result; // rule 4
    if (before?.type === "step_failed") throw failed(before.error, stepId);
    if (before?.nextAt) await this.rest("retry", name, before.nextAt);
    for (let attempt = (before?.attempt ?? 0) + 1; ; attempt++) {
      await this.settle(); // rule 1
      while (leaseUntil - clock() <= MARGIN_MS) await new Promise((go) => (leaseWaiters.push(go), sendBeat())); // rule 2
      if (this.draining) await this.last({ release: true });
      if (this.over) throw new Gone();
      this.inBody = true;
      const startedAt = this.time();
      const [result, error] = await body(attempt).then((value) => [value ?? null], (thrown) => [null, described(thrown)]);
      const rest = { attempt, startedAt, durationMs: this.time() - startedAt };
      this.inBody = false;
      if (!error) return this.record("step_completed", stepId, name, { result, ...rest }).result;
      Object.assign(error, { step: name, attempts: attempt });
      if (attempt > retries) throw failed(this.record("step_failed", stepId, name, { error, ...rest }).error, stepId);
      const { nextAt } = this.record("step_retrying", stepId, name, { error, nextAt: this.time() + delayMs, ...rest });
      await this.rest("retry", name, nextAt);
    }
  }

  async sleep(name, ms) {
    const stepId = this.identity(`sleep:${name}`), before = this.recorded.get(stepId);
    if (before?.type === "sleep_completed") return;
    const { until } = before ?? this.record("sleep_started", stepId, "", { until: this.time() + ms });
    await this.rest("sleep", name, until);
    this.record("sleep_completed", stepId, "", { until });
  }

  async write(name, collection, write) { // committed together with the event that tells of it: exactly once
    const stepId = this.identity(name);
    let told = this.recorded.get(stepId);
    if (!told) {
      this.writings.push({ place: this.events.length, collection, writes: [write], isOne: true });
      this.record("step_completed", stepId, name, {});
      told = await this.settle().then(({ written: [{ type, payload }] }) => ({ type, ...payload }));
    }
    if (told.type === "step_failed") throw failed(told.error, stepId);
    return told.result;
  }

  async signal(name) {
    const at = this.signals.findIndex((signal) => signal.name === name);
    if (at < 0) await this.rest("signal", name);
    return this.signals.splice(at, 1)[0].payload;
  }

  time() { return (this.lastAt = Math.max(this.lastAt, now())); } // rule 6
  identity(name) {
    const count = (this.names[name] = (this.names[name] ?? -1) + 1);
    return count ? `${name}#${count}` : name;
  }

  record(type, stepId, name, payload) {
    if (this.over) throw new Gone();
    this.events.push({ type, at: this.time(), stepId, name, payload });
    return payload;
  }

  // Let go of the run until it is due: then some worker is assigned it, with the messages that have come, and replays it.
  async rest(kind, name, until = null) {
    if (until !== null && until <= now()) return;
    const suspend = { on: { kind, name, until, others: 0 }, wakeAt: until };
    if (this.draining || !(await this.settle({ suspend })).quiet) await this.last({ release: true });
    this.drop();
    throw new Gone();
  }

  async settle(more = {}) {
    while (this.unsettled) await this.unsettled.answer; // one at a time
    if (this.over) throw new Gone();
    const { runId, turn, events, consumed, writings, mailboxConsumed } = this;
    if (!events.length && !consumed.length && !Object.keys(more).length) return;
    const hasOutcome = events.some(({ type }) => /^step_(completed|failed)$/.test(type));
    const said = { events, consumed, writings, mailboxConsumed, hasOutcome, ...more };
    const frame = { type: "progress", runId, turn, no: ++this.no, ...said };
    Object.assign(this, { events: [], consumed: [], writings: [] });
    const unsettled = (this.unsettled = { frame });
    unsettled.answer = new Promise((resolve) => (unsettled.resolve = resolve));
    say(frame);
    const settled = await unsettled.answer;
    if (settled.asked) this.draining = true;
    if (settled.refused) this.drop();
    return settled;
  }

  last(word) { return this.settle(word).catch(() => {}).then(() => this.drop()); }

  drop() {
    if (!this.over) say({ type: "done", runId: this.runId, turn: this.turn });
    this.over = true;
    runs.delete(`${this.runId}/${this.turn}`);
    room();
  }
}

const heard = {
  welcome({ resumed, now: theirs, session: name }) {
    [session, ahead, assigned, tries] = [name, theirs - clock(), 0, 0];
    for (const run of [...runs.values()])
      if (!resumed) run.drop();
      else if (run.unsettled) say(run.unsettled.frame);
    room();
    sendBeat();
    console.log("ready");
  },
  assign(frame) { assigned++, runs.set(`${frame.runId}/${frame.turn}`, new Run(frame)); },
  settled(frame) {
    const run = find(frame), waiting = run?.unsettled;
    if (waiting?.frame.no === frame.no) run.unsettled = waiting.resolve(frame);
  },
  interrupt(frame) {
    const run = find(frame);
    if (frame.reason !== "drain") return run?.drop();
    run.draining = true; // begin no more bodies; once none is under way, others go on with the run
    if (!run.inBody) run.last({ release: true });
  },
  lease({ no, ms }) {
    leaseUntil = Math.max(leaseUntil, (beats.get(no) ?? 0) + ms);
    for (const go of beats.delete(no) ? leaseWaiters.splice(0) : []) go();
  },
  part({ text, last }) { parts.push(text), last && hear(JSON.parse(parts.splice(0).join(""))); },
};
const hear = (frame) => heard[frame.type]?.(frame);

function connect() {
  socket = new WebSocket(`${base}/api/workflows/worker`, { protocols: ["stepwell.v1"], headers });
  socket.onopen = () => {
    [outgoing, parts] = [[], []];
    const known = Object.keys(workflows).map((name) => [name, ""]);
    const holds = [...runs.values()].map(({ runId, turn }) => [runId, turn]);
    say({ type: "hello", versions: [1], workflows: known, session, holds });
  };
  socket.onmessage = ({ data }) => JSON.parse(data).forEach(hear);
  socket.onclose = () => {
    if (leaving) process.exit(0);
    beats.clear();
    setTimeout(connect, Math.min(5_000, 50 * 2 ** tries++) * (0.5 + Math.random() / 2));
  };
}

setInterval(() => { // rule 3 asks for a thread; here no step blocks
  if (socket.readyState === 1 && (runs.size || ticks++ % 40 === 0)) sendBeat();
  if (beats.size && clock() - beats.values().next().value > 2_000) socket.close();
}, 250);
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => { leaving = true; say({ type: "bye" }); });
connect();
