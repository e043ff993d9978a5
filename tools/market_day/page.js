// Asks the tool once a second and shows the answer. Text is only ever set as text.
"use strict";

const $ = (id) => document.getElementById(id);
let zone = "America/New_York", shown = 0, asked = 0, rate = 1, drawn = 0;

const clock = (at, seconds = false) => new Intl.DateTimeFormat("en-GB", {
  timeZone: zone, hour: "2-digit", minute: "2-digit", ...(seconds ? { second: "2-digit" } : {}),
}).format(new Date(at * 1000));
const dayOf = (at) => new Intl.DateTimeFormat("en-GB", {
  timeZone: zone, weekday: "long", day: "numeric", month: "long", year: "numeric",
}).format(new Date(at * 1000));
const number = (value, digits = 0) => value === null || value === undefined || value === "" || isNaN(value) ? ""
  : Number(value).toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });

function element(tag, text, cls) {
  const made = document.createElement(tag);
  if (text !== undefined && text !== null) made.textContent = text;
  if (cls) made.className = cls;
  return made;
}

function fill(parent, children) {
  parent.replaceChildren(...children);
}

function row(cells, cls) {
  const made = element("tr", undefined, cls);
  for (const [text, kind, more] of cells) {
    const cell = element("td", text, kind);
    cell.title = [text, more].filter(Boolean).join(", ");
    made.append(cell);
  }
  return made;
}

function line(at, text, cls) {
  const made = element("li", undefined, cls);
  made.append(element("time", at), element("span", text));
  return made;
}

function fleet(found) {
  const order = { alpaca_websocket: 0, mlflow_server: 1, gpu_instance: 2 };
  const hosts = [...found.fleet].sort((a, b) => (order[a.component] ?? 9) - (order[b.component] ?? 9) || a.name.localeCompare(b.name));
  fill($("fleet").tBodies[0], hosts.map((host) => row([
    [host.name, "name", host.id],
    [host.instance_state, `dot ${host.colour}`],
    [found.hosts ? [host.health, host.state, host.reason].filter(Boolean).join(", ") : "no host", "why"],
    [number(host.last_work_age, 1), "n"], [number(host.feed_lag, 1), "n"], [number(host.orders), "n"],
    [host.position === null || host.position === undefined ? "" : `${number(host.position)}${host.symbol ? ` ${host.symbol}` : ""}`, "n"],
    [number(host.gain, 2), "n"],
  ], host.colour)));
  const up = hosts.filter((host) => host.component === "trading_server" && host.instance_state === "running").length;
  const all = hosts.filter((host) => host.component === "trading_server").length;
  const working = hosts.filter((host) => host.component === "trading_server" && host.colour === "working").length;
  $("fleetcount").textContent = found.hosts ? `${working} of ${all} trading servers trade, ${up} run` : `${up} of ${all} trading servers run`;
  $("fleetempty").hidden = found.hosts;
  $("fleetempty").textContent = "Instances are records here: nothing boots or trades, so there is no health, feed or order.";
}

function account(found) {
  const positions = Object.entries(found.positions);
  fill($("positions").tBodies[0], positions.map(([symbol, shares]) => row([
    [symbol], [number(shares), "n"], [number(found.prices[symbol], 2), "n"], [number(shares * found.prices[symbol]), "n"],
  ])));
  fill($("last").tBodies[0], found.orders.map((order) => row([[order.side], [number(order.qty), "n"], [order.symbol], [order.status]])));
  $("cash").textContent = found.cash === null ? "" : `cash $${number(found.cash, 2)}, ${found.order_count} orders so far`;
  $("accountempty").hidden = found.cash !== null;
  $("accountempty").textContent = found.hosts ? "The paper broker has not answered yet." : "There is no market without hosts.";
  document.querySelector("#account .two").hidden = found.cash === null;
}

function session(found) {
  const day = found.day, box = $("session");
  if (!day || !day.opens) {
    box.dataset.open = "no";
    box.textContent = day ? `${found.exchange}: no session (${day.note})` : found.exchange;
    return;
  }
  const open = found.now >= day.opens && found.now < day.closes;
  box.dataset.open = open ? "yes" : "no";
  box.textContent = `${found.exchange} ${open ? "open" : "closed"}: ${clock(day.opens)} to ${clock(day.closes)}, ${day.note}`;
}

function show(found) {
  zone = found.zone; shown = found.now; asked = performance.now(); rate = found.rate;
  $("environment").textContent = found.environment;
  document.title = `${found.environment}: the trading day`;
  $("day").textContent = dayOf(found.now);
  $("zone").textContent = `${zone}${rate <= 1 ? "" : `, ${number(rate)} s for each second`}`;
  session(found); fleet(found); account(found);
  $("alertcount").textContent = found.alerts.length || "";
  fill($("alerts"), found.alerts.length ? [...found.alerts].reverse().map((alert) => {
    const mail = element("div", undefined, "mail");
    const body = alert.text.startsWith(alert.subject) ? alert.text.slice(alert.subject.length).trim() : alert.text;
    mail.append(element("b", `${clock(alert.at)} ${alert.subject}`), element("pre", body));
    return mail;
  }) : [element("p", "none", "empty")]);
  fill($("orders_in_force"), (found.in_force.length ? found.in_force : ["none"]).map((text) => element("li", text, text === "none" ? "empty" : "")));
  fill($("next"), found.next.map((each) => line(`${clock(Date.parse(each.at) / 1000)}`, `${each.name}, ${each.group}`)));
  const steps = $("steps"), below = steps.scrollHeight - steps.scrollTop - steps.clientHeight < 30;
  const told = (found.day?.steps ?? []).filter((step) => step.kind !== "alert");
  const signs = { check: "✓ ", failed: "✗ " };
  fill(steps, told.length ? told.map((step) => line(clock(step.at), (signs[step.kind] ?? "") + step.text, step.kind))
    : (found.day?.invocations ?? []).map((run) => line(clock(run.begin), `${run.function}: ${run.said}`, run.ok ? "" : "failed")));
  if (below) steps.scrollTop = steps.scrollHeight;
  trouble(found.problem);
  if (performance.now() - drawn > 2000) {
    drawn = performance.now();
    $("picture").src = `day.svg?${Math.round(drawn)}`;
  }
}

function trouble(text) {
  $("problem").hidden = !text;
  $("problem").textContent = text;
}

async function ask() {
  try {
    const answer = await fetch("day.json", { cache: "no-store" });
    show(await answer.json());
  } catch {
    trouble("The tool does not answer any more; what is shown is old.");
  }
  setTimeout(ask, 1000);
}

setInterval(() => {
  if (shown) $("clock").textContent = clock(shown + (performance.now() - asked) / 1000 * rate, true);
}, 200);
ask();
