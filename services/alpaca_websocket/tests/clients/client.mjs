// SPDX-License-Identifier: GPL-3.0-or-later
// A client in another language: node's own WebSocket. node client.mjs URL KEY SECRET SYMBOL
// Prints every message it gets as a line of JSON.
const [url, key, secret, symbol] = process.argv.slice(2);
const socket = new WebSocket(url);
const send = (message) => socket.send(JSON.stringify(message));

socket.onmessage = ({ data }) => {
  for (const message of JSON.parse(data)) {
    console.log(JSON.stringify(message));
    if (message.msg === "connected") send({ action: "auth", key, secret });
    if (message.msg === "authenticated") send({ action: "subscribe", trades: [symbol], bars: [symbol] });
  }
};
socket.onclose = ({ code }) => { console.log(JSON.stringify({ closed: code })); process.exit(0); };
socket.onerror = (event) => console.log(JSON.stringify({ failed: String(event.message ?? event.type) }));
