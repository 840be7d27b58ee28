// A worker in plain JavaScript, for Node 20 or newer, without a dependency: steps, a durable sleep, a signal and a record.
//
//   node --experimental-websocket examples/worker.js http://127.0.0.1:7331
//
// (From Node 22 on without the flag. A key is taken from STEPWELL_API_KEY.) The protocol is told in docs/protocol.md; the numbers
// of its rules are named below. Workflows here are made of one branch of operations, one after the other.

const workflows = {
  "js-greeting": async (ctx, name) => {
    const greeting = await ctx.step("greet", async () => `Hello, ${name}`);
    await ctx.sleep("pause", 200);
    const by = await ctx.signal("sign");
    return ctx.step("sign", async () => `${greeting}! -- ${by}`);
  },
  "js-guestbook": async (ctx, name) => ctx.write("enter", "guests", { action: "create", id: crypto.randomUUID(), data: { name } }),
};

const [base = "http://127.0.0.1:7331"] = process.argv.slice(2);
const url = `${base.replace(/^http/, "ws").replace(/\/$/, "")}/api/workflows/worker`;
const clock = () => Number(process.hrtime.bigint() / 1_000_000n);
const MARGIN_MS = 100;
const CAPACITY = 100;

const runs = new Map(); // runId/turn to Run
let socket, session = "", assigned = 0, beat = 0, leaseUntil = 0, ahead = Date.now() - clock(), leaving = false, tries = 0, writingsMax = 0;
let outgoing = [], parts = [];
const beats = new Map(), leaseWaiters = [];
const now = () => clock() + ahead;

function say(frame) {
  if (outgoing.push(frame) === 1) queueMicrotask(flush); // what is said in one turn travels in one message
}

function flush() {
  if (socket?.readyState === 1 && outgoing.length) {
    for (const frame of outgoing) sendFrame(frame);
  }
  outgoing = []; // what is lost is said again by the hello of the next connection, or lies in `unsettled`
}

function sendFrame(frame) {
  const text = JSON.stringify(frame);
  if (text.length <= 200_000) return socket.send(`[${text}]`);
  for (let at = 0; at < text.length; at += 200_000) {
    const last = at + 200_000 >= text.length;
    socket.send(JSON.stringify([{ type: "part", text: text.slice(at, at + 200_000), last }]));
  }
}

const room = () => say({ type: "room", credit: assigned + Math.max(0, CAPACITY - runs.size) });

function sendBeat() {
  beats.set(++beat, clock());
  say({ type: "beat", no: beat });
}

async function untilLease() { // rule 2
  while (leaseUntil - clock() <= MARGIN_MS) {
    sendBeat();
    await new Promise((resolve) => leaseWaiters.push(resolve));
  }
}

class Gone extends Error {} // thrown into a workflow whose run is not ours any more

class Run {
  constructor(frame) {
    Object.assign(this, { runId: frame.runId, turn: frame.turn, no: 0, events: [], writings: [], consumed: [], unsettled: null, over: false });
    this.consumedSeq = frame.mailboxConsumed ?? 0;
    this.lastAt = frame.startedAt;
    this.names = new Map(); // how often each name was used: the second is name#1
    this.outcomes = new Map(); // stepId to the event that has its outcome
    this.signals = new Map(); // name to payloads that nobody has taken yet
    this.waiters = [];
    for (const event of frame.history ?? []) {
      this.lastAt = Math.max(this.lastAt, event.at);
      if (event.type === "signal_received") this.keep(event.name, event.payload.payload);
      else if (event.stepId) this.outcomes.set(`${event.type} ${event.stepId}`, event);
    }
    this.transcribe(frame.messages ?? []);
    this.ctx = {
      runId: frame.runId,
      step: (name, body) => this.step(name, body),
      sleep: (name, ms) => this.sleep(name, ms),
      signal: (name) => this.signal(name),
      write: (name, collection, write) => this.write(name, collection, write),
    };
    workflows[frame.workflow](this.ctx, frame.input ?? null).then(
      (output) => this.end("completed", { output: output ?? null }),
      (error) => this.end("failed", { error: { type: error.name, message: String(error.message), kinds: [error.name] } }),
    );
  }

  time() { return (this.lastAt = Math.max(this.lastAt, now())); } // rule 6

  identity(name) {
    const count = this.names.get(name) ?? 0;
    this.names.set(name, count + 1);
    return count ? `${name}#${count}` : name;
  }

  record(type, stepId, name, payload) {
    if (this.over) throw new Gone();
    this.events.push({ type, at: this.time(), stepId, name, payload });
  }

  async step(name, body) {
    const stepId = this.identity(name);
    const before = this.outcomes.get(`step_completed ${stepId}`);
    if (before) return before.payload.result; // rule 4
    await this.settle(); // rule 1
    await untilLease();
    if (this.over) throw new Gone();
    const startedAt = this.time();
    const result = (await body()) ?? null;
    this.record("step_completed", stepId, name, { result, attempt: 1, startedAt, durationMs: this.time() - startedAt });
    return result;
  }

  async sleep(name, ms) {
    const stepId = this.identity(`sleep:${name}`);
    if (this.outcomes.has(`sleep_completed ${stepId}`)) return;
    const started = this.outcomes.get(`sleep_started ${stepId}`);
    const until = started ? started.payload.until : this.time() + ms;
    if (!started) this.record("sleep_started", stepId, "", { until });
    if (until > now()) await this.rest({ on: { kind: "sleep", name, until, others: 0 }, wakeAt: until }, until);
    this.record("sleep_completed", stepId, "", { until });
  }

  async signal(name) {
    while (!this.signals.get(name)?.length) await this.rest({ on: { kind: "signal", name, until: null, others: 0 } });
    return this.signals.get(name).shift();
  }

  // Committed together with the event that tells of it: exactly once.
  async write(name, collection, write) {
    const stepId = this.identity(name);
    let told = this.outcomes.get(`step_completed ${stepId}`) ?? this.outcomes.get(`step_failed ${stepId}`);
    if (!told) {
      if (!writingsMax) throw new Error("this server writes no records along");
      this.writings.push({ place: this.events.length, collection, writes: [write], isOne: true });
      this.record("step_completed", stepId, name, {});
      told = (await this.settle()).written?.[0];
      if (this.over) throw new Gone();
    }
    if (told.type === "step_failed") throw new Error(told.payload.error.message);
    return told.payload.result;
  }

  // Let go of the run until it is due: some worker, this one perhaps, is assigned it then, and replays it.
  async rest(suspend, until = Infinity) {
    const settled = await this.settle({ suspend });
    if (settled.quiet) this.drop();
    else if (!this.over) await new Promise((go) => (this.waiters.push(go), until < Infinity && setTimeout(go, until - now())));
    if (this.over) throw new Gone();
  }

  keep(name, payload) {
    if (!this.signals.has(name)) this.signals.set(name, []);
    this.signals.get(name).push(payload);
  }

  transcribe(messages) { // rule 5
    for (const { seq, kind, name, id, payload = null } of messages) {
      if (seq !== this.consumedSeq + 1 || this.over) continue;
      this.consumedSeq = seq;
      this.consumed.push([seq, id]);
      if (kind === "pause") { this.settle({ release: true }).then(() => this.drop()); return; }
      this.record("signal_received", "", name, { payload, signalId: id, mailboxSeq: seq });
      this.keep(name, payload);
    }
    for (const go of this.waiters.splice(0)) go();
  }

  async settle(more = {}) {
    while (this.unsettled) await this.unsettled.answer; // one at a time
    if (this.over) throw new Gone();
    if (!this.events.length && !this.consumed.length && !Object.keys(more).length) return { quiet: true };
    const frame = {
      type: "progress", runId: this.runId, turn: this.turn, no: ++this.no, events: this.events, consumed: this.consumed, writings: this.writings,
      mailboxConsumed: this.consumedSeq, hasOutcome: this.events.some((event) => event.type.startsWith("step_")), ...more,
    };
    this.events = [];
    this.consumed = [];
    this.writings = [];
    let resolve;
    const answer = new Promise((done) => (resolve = done));
    this.unsettled = { frame, answer, resolve };
    say(frame);
    const settled = await answer;
    if (settled.refused) this.drop();
    return settled;
  }

  async end(status, payload) {
    if (this.over) return;
    const event = { type: `run_${status}`, at: this.time(), payload };
    await this.settle({ final: { status, event } }).catch(() => {});
    this.drop();
  }

  drop() {
    if (this.over) return;
    this.over = true;
    runs.delete(`${this.runId}/${this.turn}`);
    for (const go of this.waiters.splice(0)) go();
    say({ type: "done", runId: this.runId, turn: this.turn });
    room();
  }
}

const heard = {
  welcome(frame) {
    session = frame.session;
    writingsMax = frame.limits.writingsMax ?? 0;
    ahead = Math.max(frame.now - clock() - 1, -Infinity);
    assigned = 0;
    for (const run of [...runs.values()]) {
      if (!frame.resumed) run.drop();
      else if (run.unsettled) say(run.unsettled.frame);
    }
    console.log("ready");
    room();
    sendBeat();
  },
  assign(frame) {
    assigned += 1;
    runs.set(`${frame.runId}/${frame.turn}`, new Run(frame));
  },
  settled(frame) {
    const run = runs.get(`${frame.runId}/${frame.turn}`);
    if (run?.unsettled?.frame.no !== frame.no) return;
    const { resolve } = run.unsettled;
    run.unsettled = null;
    resolve({ quiet: false, refused: "", ...frame });
  },
  deliver(frame) { runs.get(`${frame.runId}/${frame.turn}`)?.transcribe(frame.messages); },
  interrupt(frame) { runs.get(`${frame.runId}/${frame.turn}`)?.drop(); },
  lease(frame) {
    if (!beats.has(frame.no)) return;
    leaseUntil = Math.max(leaseUntil, beats.get(frame.no) + frame.ms);
    beats.delete(frame.no);
    ahead = Math.max(ahead, frame.now - clock() - 1);
    for (const go of leaseWaiters.splice(0)) go();
  },
  part(frame) {
    parts.push(frame.text);
    if (frame.last) hear(JSON.parse(parts.splice(0).join("")));
  },
  bye() { if (leaving) process.exit(0); },
};

const hear = (frame) => heard[frame.type]?.(frame);

function connect() {
  const key = process.env.STEPWELL_API_KEY;
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  socket = new WebSocket(url, { protocols: ["stepwell.v1"], headers });
  parts = [];
  beats.clear();
  socket.onopen = () => {
    tries = 0;
    const holds = [...runs.values()].map((run) => [run.runId, run.turn]);
    const known = Object.keys(workflows).map((name) => [name, ""]);
    sendFrame({ type: "hello", versions: [1], workflows: known, agent: "worker.js", session, holds });
  };
  socket.onmessage = ({ data }) => JSON.parse(data).forEach(hear);
  socket.onerror = () => {};
  socket.onclose = ({ code, reason }) => {
    if (leaving) process.exit(0);
    console.log(`connection lost (${code} ${reason}), trying again`);
    setTimeout(connect, Math.min(5_000, 50 * 2 ** tries++) * (0.5 + Math.random() / 2));
  };
}

let turn = 0;
setInterval(() => { // rule 3 asks for a thread; here no step blocks
  if (socket.readyState === 1 && (runs.size || turn++ % 40 === 0)) sendBeat();
  if (beats.size && clock() - beats.values().next().value > 2_000) socket.close();
}, 250);

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, () => { leaving = true; say({ type: "bye" }); });
}
connect();
