// SPDX-License-Identifier: GPL-3.0-or-later
// npm's @alpacahq/alpaca-trade-api 4. node trade_api_4.cjs URL KEY SECRET SYMBOL
// Prints what it gets as lines of JSON.
const { Alpaca } = require("@alpacahq/alpaca-trade-api");
const [url, keyId, secret, symbol] = process.argv.slice(2);
const say = (message) => console.log(JSON.stringify(message, (_key, value) => (typeof value === "bigint" ? String(value) : value)));

const stream = new Alpaca({ keyId, secret }).marketData.stockStream({ feed: "iex", url });
stream.onConnect(() => {
  stream.subscribeForTrades([symbol]);
  stream.subscribeForBars([symbol]);
});
stream.onError((error) => say({ error: String(error) }));
stream.onTrade((trade) => say({ trade }));
stream.onBar((bar) => say({ bar }));
stream.whenAuthenticated().then((result) => say({ state: result.status === "authenticated" ? "authenticated" : result }));
stream.connect();
