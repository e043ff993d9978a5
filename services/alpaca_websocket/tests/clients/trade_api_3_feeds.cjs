// SPDX-License-Identifier: GPL-3.0-or-later
// npm's @alpacahq/alpaca-trade-api 3: all its streams at once, each at the path that it makes itself.
// node trade_api_3_feeds.cjs ADDRESS KEY SECRET OPTION
// Prints what it gets as lines of JSON.
const Alpaca = require("@alpacahq/alpaca-trade-api");
const [address, keyId, secretKey, option] = process.argv.slice(2);
const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);
console.log = console.error; // it tells what it listens to

const api = new Alpaca({ keyId, secretKey, dataStreamUrl: address, baseUrl: address, optionFeed: "opra" });
const streams = {
  crypto: [api.crypto_stream_v1beta3, (stream) => stream.subscribeForTrades(["BTC/USD"]) || stream.subscribeForOrderbooks(["BTC/USD"])],
  opra: [api.option_stream, (stream) => stream.subscribeForTrades([option])],
  news: [api.news_stream, (stream) => stream.subscribeForNews(["*"])],
  trade_updates: [api.trade_ws, (stream) => stream.subscribe(["trade_updates"])],
};
for (const [name, [stream, subscribe]] of Object.entries(streams)) {
  stream.onConnect(() => { say({ connected: name }); subscribe(stream); });
  stream.onError((error) => say({ error: `${name}: ${error}` }));
}
api.crypto_stream_v1beta3.onCryptoTrade((crypto) => say({ crypto }));
api.crypto_stream_v1beta3.onCryptoOrderbook((book) => say({ book }));
api.option_stream.onOptionTrade((opra) => say({ opra }));
api.news_stream.onNews((news) => say({ news }));
api.trade_ws.onOrderUpdate((update) => say({ update }));
for (const [stream] of Object.values(streams)) stream.connect();
