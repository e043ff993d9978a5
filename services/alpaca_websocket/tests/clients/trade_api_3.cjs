// SPDX-License-Identifier: GPL-3.0-or-later
// npm's @alpacahq/alpaca-trade-api 3 with its default settings. node trade_api_3.cjs URL KEY SECRET SYMBOL
// Prints what it gets as lines of JSON.
const Alpaca = require("@alpacahq/alpaca-trade-api");
const [url, keyId, secretKey, symbol] = process.argv.slice(2);
const say = (message) => console.log(JSON.stringify(message));

// It makes an address of this one, with /v2/iex at its end.
const stream = new Alpaca({ keyId, secretKey, dataStreamUrl: url.replace("/v2/iex", "") }).data_stream_v2;
stream.onConnect(() => {
  stream.subscribeForTrades([symbol]);
  stream.subscribeForBars([symbol]);
});
stream.onStateChange((state) => say({ state }));
stream.onError((error) => say({ error }));
stream.onStockTrade((trade) => say({ trade }));
stream.onStockBar((bar) => say({ bar }));
stream.connect();
