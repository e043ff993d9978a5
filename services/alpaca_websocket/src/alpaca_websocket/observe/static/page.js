// SPDX-License-Identifier: GPL-3.0-or-later
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const GROUPS = ["trades", "quotes", "bars", "others"];
const KEPT = { seconds: 600, minutes: 1440 };
const samples = { seconds: [], minutes: [] };
let range = "seconds";
let answered = 0;

const byId = (id) => document.getElementById(id);
const text = (id, value) => { byId(id).textContent = value; };

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function shape(name, attributes, content = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = content;
  return made;
}

function short(value) {
  if (value >= 1e9) return (value / 1e9).toFixed(1) + " G";
  if (value >= 1e6) return (value / 1e6).toFixed(1) + " M";
  if (value >= 1e4) return (value / 1e3).toFixed(value >= 1e5 ? 0 : 1) + " k";
  return value >= 100 || Number.isInteger(value) ? Math.round(value).toLocaleString("en") : value.toFixed(1);
}

const bytes = (value) => short(value) + (value >= 1e4 ? "B" : " B");
const milliseconds = (value) => (value >= 1000 ? (value / 1000).toFixed(1) + " s" : value.toFixed(value < 10 ? 2 : 0) + " ms");

function duration(ms) {
  const seconds = Math.max(ms, 0) / 1000;
  if (seconds < 10) return seconds.toFixed(1) + " s";
  if (seconds < 120) return Math.round(seconds) + " s";
  if (seconds < 7200) return Math.round(seconds / 60) + " min";
  return seconds < 172800 ? Math.round(seconds / 3600) + " h" : Math.round(seconds / 86400) + " d";
}

const clock = (time) => new Date(time).toLocaleTimeString([], { hour12: false });

function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((step) => step * power >= value) * power;
}

function grouped(sample) {
  const sums = { trades: 0, quotes: 0, bars: 0, others: 0 };
  for (const [channel, rate] of Object.entries(sample.received)) {
    sums[/bars/i.test(channel) ? "bars" : channel in sums ? channel : "others"] += rate;
  }
  return sums;
}

// One chart: series of {colour, values}, stacked as areas or drawn as lines, over the times of `points`.
function chart(id, points, series, { stacked = false, unit = short } = {}) {
  const box = byId(id);
  const width = Math.max(box.clientWidth, 120), height = box.clientHeight;
  const left = 46, bottom = 20, top = 6;
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}` });
  const step = range === "seconds" ? 1000 : 60000;
  const end = points.length ? points[points.length - 1].at : Date.now();
  const begin = Math.min(end - 60 * step, Math.max(points.length ? points[0].at : end, end - KEPT[range] * step));
  const totals = points.map((_, i) => stacked ? series.reduce((sum, one) => sum + one.values[i], 0)
    : Math.max(0, ...series.map((one) => one.values[i])));
  const highest = ceiling(Math.max(0, ...totals));
  const x = (time) => left + (time - begin) / (end - begin) * (width - left - 4);
  const y = (value) => top + (1 - value / highest) * (height - top - bottom);
  for (const share of [0, 0.5, 1]) {
    const line = y(highest * share);
    svg.append(shape("line", { class: "grid", x1: left, x2: width, y1: line, y2: line }));
    svg.append(shape("text", { x: left - 8, y: line + 4, "text-anchor": "end" }, unit(highest * share)));
  }
  for (const share of [0, 0.5, 1]) {
    const time = begin + (end - begin) * share;
    svg.append(shape("text", { x: x(time), y: height - 4, "text-anchor": ["start", "middle", "end"][share * 2] }, clock(time)));
  }
  let base = points.map(() => 0);
  for (const { colour, values } of series) {
    const upper = stacked ? values.map((value, i) => value + base[i]) : values;
    if (!points.length) break;
    const path = points.map((point, i) => `${x(point.at).toFixed(1)},${y(upper[i]).toFixed(1)}`);
    if (stacked) path.push(...points.map((point, i) => `${x(point.at).toFixed(1)},${y(base[i]).toFixed(1)}`).reverse());
    const style = { class: stacked ? "area" : "line", "data-colour": colour };
    svg.append(shape(stacked ? "polygon" : "polyline", { ...style, points: path.join(" ") }));
    base = upper;
  }
  const tip = box.querySelector(".tip");
  box.replaceChildren(svg);
  if (tip) box.append(tip);
  box.onpointerleave = () => box.querySelector(".tip")?.remove();
  box.onpointermove = (event) => {
    if (!points.length) return;
    const time = begin + (event.offsetX - left) / (width - left - 4) * (end - begin);
    let nearest = 0;
    points.forEach((point, i) => { if (Math.abs(point.at - time) < Math.abs(points[nearest].at - time)) nearest = i; });
    const lines = series.map(({ colour, values }) => `${colour}  ${unit(values[nearest])}`);
    svg.querySelector(".cursor")?.remove();
    const at = x(points[nearest].at);
    svg.append(shape("line", { class: "cursor", x1: at, x2: at, y1: top, y2: height - bottom }));
    const shown = box.querySelector(".tip") ?? box.appendChild(element("div", { class: "tip" }));
    shown.textContent = [clock(points[nearest].at), ...lines].join("\n");
    shown.style.left = `${at > width / 2 ? at - shown.offsetWidth - 10 : at + 10}px`;
  };
}

function draw() {
  const points = samples[range];
  const groups = points.map(grouped);
  const used = GROUPS.filter((name) => name !== "others" || groups.some((group) => group.others));
  chart("chart-in", points, used.map((name) => ({ colour: name, values: groups.map((group) => group[name]) })), { stacked: true });
  chart("chart-out", points, [{ colour: "trades", values: points.map((point) => point.delivered) }]);
  chart("chart-lag", points, ["p50", "p99"].map((name) => ({ colour: name, values: points.map((point) => point["relay_lag_" + name] / 1e6) })), { unit: milliseconds });
  byId("legend").replaceChildren(...used.map((name) => element("span", { "data-colour": name }, name)));
}

function rows(id, found, cells, none) {
  const made = found.map((one) => {
    const row = element("tr");
    row.append(...cells(one, row).map((cell) => cell instanceof Node ? cell : element("td", {}, String(cell))));
    return row;
  });
  if (!made.length) made.push(element("tr", {}, element("td", { class: "empty", colspan: "9" }, none)));
  byId(id).replaceChildren(...made);
}

const number = (value) => element("td", { class: "n" }, value);

function showHead(data) {
  const { health } = data;
  byId("state").dataset.status = health.status === "standby" ? "idle" : health.status;
  text("phase", health.feed.phase);
  text("phase-since", `for ${duration(data.now - Date.parse(health.feed.since))}`);
  text("upstream", data.upstream || "no upstream yet");
  const reasons = byId("reasons");
  reasons.hidden = !health.reasons.length;
  reasons.classList.toggle("mild", health.status !== "failing");
  const said = health.reasons.join("\n");
  if (reasons.textContent !== said) reasons.textContent = said;
  document.title = `${health.status === "ok" ? "" : health.status + " · "}Market data`;
  text("version", `version ${data.version || "?"}, up ${duration(data.now - Date.parse(data.started))}`);
}

// Which channels of a gap are not filled.
function missing(gap) {
  const names = Object.keys(gap.channels).filter((name) => gap.channels[name].result !== "filled");
  return names.length ? `; missing: ${names.join(", ")}` : "";
}

function showTiles(data) {
  const last = samples.seconds[samples.seconds.length - 1];
  text("rate-in", last ? short(Object.values(last.received).reduce((a, b) => a + b, 0)) : "–");
  text("rate-out", last ? short(last.delivered) : "–");
  text("total-in", `${short(data.received)} since the start`);
  text("total-out", `${short(data.delivered)} since the start`);
  const ages = Object.values(data.health.channels).map((one) => one.age_seconds).filter((age) => age !== null);
  text("age", ages.length ? duration(Math.min(...ages) * 1000) + " ago" : "none");
  const open = data.health.feed.session_open;
  text("session", open === null ? "" : open ? "the exchange is open" : "the exchange is closed");
  text("relay", data.lags.relay.count ? milliseconds(data.lags.relay.p99) : "–");
  text("relay-more", data.lags.feed.count ? `feed ${milliseconds(data.lags.feed.p99)}` : "in the last minute");
  text("client-count", data.client_count);
  text("client-more", data.clients_cut ? `${data.clients_cut} cut for being slow` : "none cut");
  text("gap-count", data.gap_count);
  text("gap-more", data.backfilled ? `${short(data.backfilled)} backfilled` : "nothing lost");
  byId("gap-count").closest(".tile").classList.toggle("alarm", data.gaps.some((gap) => !gap.filled));
}

function showTables(data) {
  const channels = new Set([...Object.keys(data.subscriptions), ...Object.keys(data.health.channels)]);
  rows("channels", [...channels], (name) => {
    const seen = data.health.channels[name];
    return [name, number(data.subscriptions[name] ?? 0), number(short(seen?.received ?? 0)),
      number(seen?.age_seconds != null ? duration(seen.age_seconds * 1000) + " ago" : "never")];
  }, "nothing subscribed");
  const busiest = Math.max(1e-9, ...data.symbols.map(([, rate]) => rate));
  byId("symbols").replaceChildren(...data.symbols.map(([name, rate]) => {
    const chip = element("li", {}, name, element("small", {}, short(rate) + "/s"));
    chip.style.setProperty("--heat", Math.sqrt(rate / busiest).toFixed(3));
    return chip;
  }));
  text("symbol-more", data.symbol_count > data.symbols.length ? `the busiest ${data.symbols.length} of ${data.symbol_count}` : `${data.symbol_count}`);
  rows("clients", data.clients, (client, row) => {
    row.classList.toggle("slow", client.slow);
    const fill = element("i");
    const highest = Math.max(1, ...data.clients.map((one) => one.buffered_highest));
    fill.style.width = `${Math.min(100, client.buffered / highest * 100)}%`;
    const wanted = Object.entries(client.subscriptions).map(([channel, count]) => `${channel} ${count}`).join(", ");
    return [client.name || "not authenticated", client.address, client.format + (client.compressed ? ", compressed" : ""), wanted || "nothing",
      number(short(client.delivered)), element("td", {}, element("span", { class: "bar", title: `highest ${bytes(client.buffered_highest)}` }, fill), ` ${bytes(client.buffered)}`),
      number(duration(data.now - Date.parse(client.connected)))];
  }, "nobody is connected");
  text("clients-more", data.client_count > data.clients.length ? `the first ${data.clients.length} of ${data.client_count}` : "");
  rows("gaps", data.gaps, (gap) => [clock(gap.began), number(gap.ended ? duration(Date.parse(gap.ended) - Date.parse(gap.began)) : "still open"), gap.reason,
    number(gap.error || (gap.settled ? `${short(gap.bars)} bars, ${short(gap.trades)} trades${missing(gap)}` : "not yet"))], "none since the start");
  byId("events").replaceChildren(...data.events.map((event) => element("li", {}, element("time", {}, clock(event.at)), event.text)));
  const store = Object.entries(data.store ?? {}).filter(([, value]) => value !== null && typeof value !== "object");
  byId("store").replaceChildren(...store.flatMap(([name, value]) => [element("dt", {}, name.replaceAll("_", " ")),
    element("dd", {}, typeof value !== "number" ? String(value) || "–" : /bytes|disk/.test(name) ? bytes(value) : short(value))]));
  if (!store.length) byId("store").replaceChildren(element("dt", {}, "nothing is stored"));
}

// A button for each feed, where there are several; the one that is shown is in the address as well.
function showFeeds(data) {
  const names = Object.keys(data.feeds);
  byId("feeds").hidden = names.length < 2;
  byId("feeds").replaceChildren(...names.map((name) => {
    const pressed = String(name === data.feed);
    const button = element("button", { type: "button", "data-status": data.feeds[name], "aria-pressed": pressed }, name);
    button.addEventListener("click", () => { location.hash = name; });
    return button;
  }));
}

addEventListener("hashchange", () => {
  answered = 0;
  samples.seconds = [];
  samples.minutes = [];
  update();
});

async function update() {
  try {
    const feed = location.hash.slice(1);
    const since = answered;
    const answer = await fetch(`status.json?since=${since}&feed=${feed}`);
    if (!answer.ok) throw new Error(answer.statusText);
    const data = await answer.json();
    if (feed !== location.hash.slice(1) || since !== answered) return; // another one was chosen meanwhile
    answered = data.now;
    showFeeds(data);
    for (const name of ["seconds", "minutes"]) {
      samples[name] = [...samples[name], ...data[name]].slice(-KEPT[name]);
    }
    showHead(data);
    showTiles(data);
    showTables(data);
    draw();
  } catch (error) {
    byId("state").dataset.status = "failing";
    text("phase", "no answer");
    text("phase-since", String(error.message || error));
  }
}

async function keepUpdating() {
  await update();
  setTimeout(keepUpdating, document.hidden ? 5000 : 1000);
}

for (const button of document.querySelectorAll("[data-range]")) {
  button.addEventListener("click", () => {
    range = button.dataset.range;
    for (const other of document.querySelectorAll("[data-range]")) other.setAttribute("aria-pressed", String(other === button));
    draw();
  });
}
addEventListener("resize", draw);
keepUpdating();
